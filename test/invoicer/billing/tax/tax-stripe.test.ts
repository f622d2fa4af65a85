import { afterEach, expect, test } from 'vitest'
import { type Line, untaxedDraft } from '../../../../invoicer/billing/lines.ts'
import { taxBySeller, taxWhereKnown } from '../../../../invoicer/billing/tax/tax-port.ts'
import { stripeTax } from '../../../../invoicer/billing/tax/tax-stripe.http.ts'
import { type ContextChange, contextOf } from './contexts.ts'
import { type Answer, type Calculation, calculationOf, startStripe } from './stripe-server.ts'

const OCTOBER = Date.UTC(2024, 9, 1)
const NOW = OCTOBER + 3_600_000
const DAY_MS = 86_400_000
const ATHENS = { line1: null, line2: null, city: 'Athens', region: null, postalCode: '105 57', country: 'GR' }

let stripe: Awaited<ReturnType<typeof startStripe>>
afterEach(() => stripe.close())
const answering = async (answer: (asked: Calculation) => Answer | Promise<Answer>) => {
  stripe = await startStripe(answer)
}

const line = (amountMinor: bigint, change: Partial<Line> = {}): Line => ({
  ...{ planId: 'plan', period: { startMs: OCTOBER - 30 * DAY_MS, endMs: OCTOBER }, chargeKey: 'use' },
  ...{ description: 'Use', meter: null, amountMinor, breakdown: [], usage: null, ...change },
})
const context = ({ tax, buyer }: ContextChange = {}) =>
  contextOf({ tax: { engine: 'stripe', ...tax }, buyer: { address: ATHENS, ...buyer } })
const tax = async (lines: Line[], change: ContextChange = {}, currency = 'EUR', nowMs = NOW) => {
  const engine = taxBySeller(stripeTax({ apiKey: 'sk_test_1', url: stripe.url }, () => nowMs))
  return engine(untaxedDraft(lines), context(change), OCTOBER, currency)
}
const asked = () => stripe.asked.map(({ params }) => Object.fromEntries(params))

test('what is asked is who buys, where, on which day, and how much; what it says stands on each line', async () => {
  await answering((one) => calculationOf(24, one))
  const taxIds = [{ type: 'eu_vat', value: 'EL123456789' }]
  const draft = await tax([line(1_429n), line(1_000n)], { buyer: { taxIds } })
  expect(asked()).toEqual([
    {
      currency: 'eur',
      tax_date: String(Date.UTC(2024, 8, 30, 12) / 1_000),
      'line_items[0][amount]': '2429',
      'line_items[0][reference]': '2024-09-30',
      'line_items[0][tax_behavior]': 'exclusive',
      'customer_details[address][city]': 'Athens',
      'customer_details[address][postal_code]': '105 57',
      'customer_details[address][country]': 'GR',
      'customer_details[address_source]': 'billing',
      'customer_details[tax_ids][0][type]': 'eu_vat',
      'customer_details[tax_ids][0][value]': 'EL123456789',
      'customer_details[taxability_override]': 'none',
    },
  ])
  expect(draft.lines.map((one) => one.tax)).toMatchObject([
    { ratePercent: '24', code: 'GR-VAT', reason: 'standard_rate', amountMinor: 343n },
    { ratePercent: '24', code: 'GR-VAT', reason: 'standard_rate', amountMinor: 240n },
  ])
  expect(draft).toMatchObject({ subtotalMinor: 2_429n, taxMinor: 583n, totalMinor: 3_012n, legalEntityId: 'seller' })
})

test('classes are asked for one by one, by the code that Stripe has for them, and stand on the lines', async () => {
  const isTraining = (one: Calculation) => one.params.get('line_items[0][tax_code]') === 'txcd_20060044'
  await answering((one) => calculationOf(isTraining(one) ? 6 : 24, one))
  const lines = [line(1_000n), line(2_000n, { taxClass: 'training' }), line(4_000n, { taxClass: 'unknown' })]
  const draft = await tax(lines, { tax: { codes: { training: 'txcd_20060044' } } })
  expect(asked().map((one) => [one['line_items[0][amount]'], one['line_items[0][tax_code]']])).toEqual([
    ['1000', undefined],
    ['2000', 'txcd_20060044'],
    ['4000', undefined],
  ])
  expect(draft.lines.map((one) => [one.tax?.code, one.tax?.amountMinor])).toEqual([
    ['GR-VAT', 240n],
    ['GR-VAT/training', 120n],
    ['GR-VAT/unknown', 960n],
  ])
})

test('days are asked for one by one, and those that Stripe does not know any more as of the nearest', async () => {
  await answering((one) => calculationOf(one.params.get('tax_date') === String(NOW / 1_000) ? 24 : 10, one))
  const old = line(5_000n, { agreedAtMs: OCTOBER - 90 * DAY_MS })
  const draft = await tax([line(1_000n), old], {}, 'EUR')
  expect(draft.lines.map((one) => one.tax?.amountMinor)).toEqual([100n, 500n])
  const earliest = String((NOW - 30 * DAY_MS) / 1_000)
  expect(asked().map((one) => one.tax_date)).toEqual([String(Date.UTC(2024, 8, 30, 12) / 1_000), earliest])
})

test('inside the amounts, the total stays; what corrects an earlier invoice is not asked for', async () => {
  await answering((one) => calculationOf(24, one))
  const before = { ratePercent: '13', code: 'GR-VAT', reason: 'standard_rate' as const, certificate: null }
  const correction = line(-1_000n, { tax: { ...before, inclusive: true, amountMinor: -115n } })
  const draft = await tax([line(1_240n), correction], { tax: { inclusive: true } })
  expect(asked().map((one) => one['line_items[0][amount]'])).toEqual(['1240'])
  expect(draft.lines.map((one) => [one.tax?.ratePercent, one.tax?.amountMinor])).toEqual([
    ['24', 240n],
    ['13', -115n],
  ])
  expect(draft.totalMinor).toBe(240n)
})

test('more given back than sold, and nothing at all, have a rate too', async () => {
  await answering((one) => calculationOf(24, one))
  expect(await tax([line(1_000n), line(-3_000n)])).toMatchObject({ taxMinor: -480n })
  expect(await tax([line(0n)])).toMatchObject({ taxMinor: 0n, lines: [{ tax: { ratePercent: '24' } }] })
})

test('who is exempt is said to be, and the certificate stands on the line', async () => {
  await answering((one) => calculationOf(0, one, { taxability_reason: 'customer_exempt' }))
  const taxExemption = { reason: 'school', certificate: 'C-7' }
  const draft = await tax([line(1_000n)], { buyer: { taxExemption } })
  expect(asked()[0]?.['customer_details[taxability_override]']).toBe('customer_exempt')
  expect(draft.lines[0]?.tax).toMatchObject({ reason: 'exempt', certificate: 'C-7', amountMinor: 0n })
})

test("currencies whose smallest unit Stripe has otherwise are asked for in Stripe's", async () => {
  await answering((one) => calculationOf(10, one))
  expect(await tax([line(1_234n)], {}, 'ISK')).toMatchObject({ taxMinor: 123n })
  expect(await tax([line(1_234n)], {}, 'KWD')).toMatchObject({ taxMinor: 123n })
  expect(asked().map((one) => one['line_items[0][amount]'])).toEqual(['123400', '1240'])
})

test('the same again within a day is the same question: what was answered holds', async () => {
  await answering((one) => calculationOf(24, one))
  await tax([line(1_000n)])
  await tax([line(1_000n)], {}, 'EUR', NOW + 3_600_000)
  await tax([line(1_001n)])
  const [one, again, other] = stripe.asked.map(({ key }) => key)
  expect(again).toBe(one)
  expect(other).not.toBe(one)
})

test('a subscription is never untaxed: away, refused, unknown or at odds with its own rates, the engine fails', async () => {
  const failure = (message: string) => expect.objectContaining({ code: 'calculation_failed', message })
  await answering(() => ({ status: 400, body: { error: { message: 'No such country.' } } }))
  await expect(tax([line(1_000n)])).rejects.toEqual(failure('Stripe Tax did not tell the tax: No such country.'))
  const { url } = stripe
  await stripe.close()
  await answering((one) => calculationOf(24, one, { amount: 999 }))
  await expect(tax([line(1_000n)])).rejects.toEqual(
    failure('Stripe Tax says 999 of 2024-09-30 where its rates make 240.'),
  )
  const gone = stripeTax({ apiKey: 'sk_test_1', url }, () => NOW)
  await expect(gone(untaxedDraft([line(1n)]), context(), OCTOBER, 'EUR')).rejects.toMatchObject({
    code: 'calculation_failed',
  })
  await expect(tax([line(1n)], { buyer: { address: null } })).rejects.toEqual(
    failure('The tax of customer "a" is not known: set its billing address.'),
  )
  expect(() => taxBySeller(undefined)(untaxedDraft([line(1n)]), context(), OCTOBER, 'EUR')).toThrow(/STRIPE_TAX_KEY/)
})

test('budgets and credit are watched without asking anybody', async () => {
  await answering((one) => calculationOf(24, one))
  const draft = untaxedDraft([line(1_000n)])
  expect(taxWhereKnown(draft, context(), OCTOBER, 'EUR')).toBe(draft)
  expect(stripe.asked).toEqual([])
})

test('no more than 16 questions are under way at once', async () => {
  let [running, most] = [0, 0]
  await answering(async (one) => {
    most = Math.max(most, ++running)
    await new Promise((resolve) => setTimeout(resolve, 5))
    running -= 1
    return calculationOf(24, one)
  })
  const engine = stripeTax({ apiKey: 'sk_test_1', url: stripe.url }, () => NOW)
  const drafts = Array.from({ length: 60 }, (_, n) => untaxedDraft([line(BigInt(n + 1) * 100n)]))
  const answers = await Promise.all(drafts.map((draft) => engine(draft, context(), OCTOBER, 'EUR')))
  expect(answers.map(({ taxMinor }) => taxMinor)).toEqual(drafts.map(({ totalMinor }) => (totalMinor * 24n) / 100n))
  expect(most).toBeGreaterThan(1)
  expect(most).toBeLessThanOrEqual(16)
})
