import { expect, test } from 'vitest'
import { mailOf } from '../../../../ingest/webhooks/mail.ts'
import { messageOf, TOPICS } from '../../../../ingest/webhooks/message.ts'
import {
  alertAnswer,
  SPEND_THRESHOLD_REACHED,
  type SpendAlert,
  webhookPayload,
} from '../../../../invoicer/billing/budgets/spend-alert.ts'
import { DECEMBER, NOVEMBER } from '../../support/world.ts'

const ALERT: SpendAlert = {
  id: '01890a5d-ac96-774b-bcce-b302099a8057',
  subscriptionId: '01890a5d-ac96-774b-bcce-b302099a8055',
  subscriptionKey: 'acme-llm',
  customerId: '01890a5d-ac96-774b-bcce-b302099a8056',
  customerKey: 'acme',
  level: '80%',
  budgetMinor: 50_000n,
  spentMinor: 41_230n,
  currency: 'USD',
  periodStartMs: NOVEMBER,
  periodEndMs: DECEMBER,
  firedAtMs: NOVEMBER + 1,
}

/** Roles never import each other: this is where the invoicer's deliveries meet what ingest sends. */
test('a webhook can subscribe to spend, and is sent a payload like that of any topic', () => {
  expect(TOPICS).toContain(SPEND_THRESHOLD_REACHED)
  const { payload } = messageOf(ALERT.id, SPEND_THRESHOLD_REACHED, ALERT.firedAtMs, alertAnswer(ALERT))
  expect(webhookPayload(ALERT)).toBe(payload)
})

test('a mail of it says in its subject whose spend, which level and how much', () => {
  const webhook = { tenant: 'shop', endpointId: 'w-1', endpoint: 'finance' }
  const mail = mailOf(
    { eventId: ALERT.id, payload: webhookPayload(ALERT), ...webhook },
    ['a@example.com'],
    'b@tally.example',
  )
  expect(mail.subject).toBe('[shop] acme-llm: spend has reached 80% (412.30 of 500.00 USD)')
  expect(mail.text).toContain('Customer: acme\nLevel: 80%\nBudget: 500.00\nSpent: 412.30\nCurrency: USD\n')
})
