import { expect, test } from 'vitest'
import type { StoredDraft } from '../../../../invoicer/billing/review/drafts.postgres.ts'
import { reviewCsv } from '../../../../invoicer/billing/review/review-csv.ts'

const draft: StoredDraft = {
  id: 'd',
  kind: 'parked',
  subscriptionId: 's',
  subscription: '=cmd()',
  customerId: 'c',
  customer: 'Smith, "J"',
  currency: 'JPY',
  periodStartMs: 0,
  periodEndMs: null,
  offCycle: false,
  lineCount: 0,
  amountMinor: 0n,
  previousMinor: -5n,
  changeMinor: 5n,
  anomalies: ['parked', 'zero'],
  reason: 'It\nbroke',
  issuedMinor: 7n,
}

test('a row has what the review shows, quoted where it has to be, and no formulas', () => {
  expect(reviewCsv([draft]).split('\r\n')).toEqual([
    'kind,customer,subscription,period_start,period_end,off_cycle,currency,amount,previous,change,anomalies,reason,issued',
    `parked,"Smith, ""J""",'=cmd(),1970-01-01T00:00:00.000Z,,false,JPY,0,-5,5,parked zero,"It\nbroke",7`,
    '',
  ])
})

test('nothing is a header', () => {
  expect(reviewCsv([])).toMatch(/^kind,[a-z_,]*\r\n$/)
})
