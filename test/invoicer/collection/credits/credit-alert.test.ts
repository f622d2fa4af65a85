import { expect, test } from 'vitest'
import { mailOf } from '../../../../ingest/webhooks/mail.ts'
import { messageOf, TOPICS } from '../../../../ingest/webhooks/message.ts'
import {
  CREDIT_THRESHOLD_REACHED,
  type CreditAlert,
  creditAlertAnswer,
  creditPayload,
} from '../../../../invoicer/collection/credits/credit-alert.ts'
import { NOVEMBER } from '../../support/world.ts'

const ALERT: CreditAlert = {
  id: '01890a5d-ac96-774b-bcce-b302099a8057',
  customerId: '01890a5d-ac96-774b-bcce-b302099a8056',
  customerKey: 'acme',
  grantId: '01890a5d-ac96-774b-bcce-b302099a8055',
  level: '10.00 left',
  baseMinor: 3_900n,
  usedMinor: 3_150n,
  availableMinor: 750n,
  currency: 'USD',
  firedAtMs: NOVEMBER + 1,
}

/** Roles never import each other: this is where the invoicer's deliveries meet what ingest sends. */
test('a webhook can subscribe to credit, and is sent a payload like that of any topic', () => {
  expect(TOPICS).toContain(CREDIT_THRESHOLD_REACHED)
  const { payload } = messageOf(ALERT.id, CREDIT_THRESHOLD_REACHED, ALERT.firedAtMs, creditAlertAnswer(ALERT))
  expect(creditPayload(ALERT)).toBe(payload)
})

test('a mail of it says in its subject whose credit and which level, and then how much is left', () => {
  const webhook = { tenant: 'shop', endpointId: 'w-1', endpoint: 'finance' }
  const { subject, text } = mailOf(
    { eventId: ALERT.id, payload: creditPayload(ALERT), ...webhook },
    ['a@example.com'],
    'b@tally.example',
  )
  for (const part of ['acme', 'credit', '10.00 left']) expect(subject).toContain(part)
  expect(text).toContain('Level: 10.00 left\nBase: 39.00\nUsed: 31.50\nAvailable: 7.50\nCurrency: USD\n')
})

test('where more is spent than there is, what is available is below 0', () => {
  expect(creditAlertAnswer({ ...ALERT, usedMinor: 4_050n, availableMinor: -150n })).toMatchObject({
    ...{ used: '40.50', available: '-1.50' },
  })
})
