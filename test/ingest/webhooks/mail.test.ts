import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { mailOf } from '../../../ingest/webhooks/mail.ts'
import { messageOf, TEST_TOPIC, TOPICS } from '../../../ingest/webhooks/message.ts'

const NOW = Date.UTC(2026, 10, 20, 12)
const ALERT = {
  id: 'e-1',
  feature: 'tokens',
  meter: 'llm_tokens',
  subject: 'customer-1' as string | null,
  customer: null as string | null,
  level: '80%',
  limit: '1000.5',
  used: '801',
  window: 'month',
  starts_at: '2026-11-01T00:00:00.000Z',
  resets_at: '2026-12-01T00:00:00.000Z',
  fired_at: '2026-11-20T12:00:00.000Z',
}
const mailed = (data: object, topic: string = TOPICS[0]) => {
  const { id: eventId, payload } = messageOf('e-1', topic, NOW, data)
  const webhook = { tenant: 'acme', endpointId: 'w-1', endpoint: 'finance' }
  return mailOf({ eventId, payload, ...webhook }, ['a@example.com'], 'billing@tally.example')
}

describe('the mail of an alert', () => {
  test('tells every fact of it, and who set it up and how it stops', () => {
    expect(mailed(ALERT)).toEqual({
      ...{ id: 'e-1.w-1', tenant: 'acme', at: new Date(NOW), to: ['a@example.com'] },
      subject: '[acme] tokens: customer-1 has reached 80% (801 of 1000.5 used)',
      text: [
        'tokens: customer-1 has reached 80% (801 of 1000.5 used)',
        '',
        'Id: e-1',
        'Feature: tokens',
        'Meter: llm_tokens',
        'Subject: customer-1',
        'Level: 80%',
        'Limit: 1000.5',
        'Used: 801',
        'Window: month',
        'Starts at: 2026-11-01T00:00:00.000Z',
        'Resets at: 2026-12-01T00:00:00.000Z',
        'Fired at: 2026-11-20T12:00:00.000Z',
        '',
        '-- ',
        'Sent by Tallyline because acme set this address up as its webhook "finance".',
        'To stop such mails, ask acme to delete that webhook (DELETE /api/v1/webhooks/finance), or write to billing@tally.example.',
        '',
      ].join('\n'),
    })
  })

  test('of a limit that a customer’s subjects share names the customer', () => {
    const { subject, text } = mailed({ ...ALERT, subject: null, customer: 'globex', level: '500' })
    expect(subject).toBe('[acme] tokens: globex has reached 500 (801 of 1000.5 used)')
    expect(text).toContain('\nCustomer: globex\n')
    expect(text).not.toContain('Subject:')
  })

  /** The marks of Unicode's Bidi_Control: one of them was left in, and an amount could be made to read as another. */
  test('has no mark in it that turns the direction in which it is read', () => {
    const marks = [...'\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069']
    for (const mark of marks) {
      const { subject, text } = mailed({ ...ALERT, subject: `a${mark}b`, feature: `${mark}tokens` })
      expect(subject).toBe('[acme] tokens: a b has reached 80% (801 of 1000.5 used)')
      expect(text).not.toMatch(/\p{Bidi_Control}/u)
    }
  })

  test('is readable though names are long, or written to be read otherwise', () => {
    const { subject, text } = mailed({ ...ALERT, subject: `😀${'x'.repeat(255)}`, feature: '\u202egro.elpmaxe\u2066' })
    expect(subject).toBe(`[acme] gro.elpmaxe: 😀${'x'.repeat(58)}… has reached 80% (801 of 1000.5 used)`)
    expect(text).toContain(`\nSubject: 😀${'x'.repeat(255)}\n`)
  })
})

test('the mail of a budget tells what was spent of how much, in which currency', () => {
  const spend = { subscription: 'acme-pro', level: '80%', spent: '81.20', budget: '100.00', currency: 'EUR' }
  const { subject, text } = mailed(spend, 'spend.threshold_reached')
  expect(subject).toBe('[acme] acme-pro: spend has reached 80% (81.20 of 100.00 EUR)')
  expect(text).toContain('\nSpent: 81.20\nBudget: 100.00\nCurrency: EUR\n')
})

test('the mail of a credit tells what was used of how much', () => {
  const credit = {
    customer: 'globex',
    level: '80%',
    base: '100.00',
    used: '81.20',
    available: '18.80',
    currency: 'EUR',
  }
  const { subject, text } = mailed(credit, 'credit.threshold_reached')
  expect(subject).toBe('[acme] globex: credit has reached 80% (81.20 of 100.00 EUR)')
  expect(text).toContain('\nAvailable: 18.80\n')
})

test('a message about credit that is not bought any more says whose, and why', () => {
  const suspended = { customer: 'globex', amount: '50.00', currency: 'EUR', reason: 'card expired' }
  const { subject } = mailed(suspended, 'credit.top_up_suspended')
  expect(subject).toBe('[acme] globex: credit is not bought any more (50.00 EUR declined: card expired)')
})

test('the mail that asks whether a webhook works says so', () => {
  expect(mailed({ webhook: 'finance' }, TEST_TOPIC).subject).toBe('[acme] test of the webhook finance')
})

test('a topic that has no headline of its own still tells its facts', () => {
  const { subject, text } = mailed({ amount: '12.5', more: { a: 1 }, nothing: null }, 'budget.reached')
  expect(subject).toBe('[acme] budget.reached')
  expect(text).toContain('\nAmount: 12.5\nMore: {"a":1}\n\n-- \n')
})

/** Names come from emitters: whatever they are, the mail has the lines that it has for others. */
test('no name begins a line of its own', () => {
  const lines = (data: object) => mailed(data).text.split(/[\r\n\v\f\x85\u2028\u2029]/).length
  const name = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.stringMatching(/^[\r\n\v\f\x85\u2028\u2029a: -]*$/),
    fc.constant('\n-- \r\nBcc: a@b.example\r\n.\r\n'),
  )
  fc.assert(
    fc.property(name, name, (subject, feature) => {
      expect(lines({ ...ALERT, subject, feature })).toBe(lines(ALERT))
      expect(mailed({ ...ALERT, subject, feature }).subject).not.toMatch(/[\p{Cc}\u2028\u2029]/u)
    }),
    { numRuns: 1_000 },
  )
})
