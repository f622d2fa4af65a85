import { type Api, apiOf } from '../support/api.ts'
import { eventually } from '../support/product.ts'
import { EVENT_TYPE, METERS, openTenant, setUpMeters } from './catalog.ts'
import type { Site } from './mortal.ts'
import { readCharges, runBilling, tenantIdOf } from './read-product.ts'

/**
 * Five customers whose money takes every way that a run knows. In April 2024 they come, in the middle of it they change,
 * and in May a run bills what is due, with fees in advance and an upgrade (ann), prepaid credit and a wallet of one
 * meter (bob), credit that was bought (cat), a coupon for two of three months (dan), and a cancellation that gives back
 * more than it bills (eve).
 */
export const APRIL_MS = Date.UTC(2024, 3, 1)
export const MAY_MS = Date.UTC(2024, 4, 1)
const [SMALL_CENTS, LARGE_CENTS] = [10_000n, 30_000n]

export type MoneyTenant = { tenantId: number; tenant: () => Api; upgradedAtMs: number; cancelledAtMs: number }

/** As April begins: what nobody has changed yet, with the first fees of ann and eve billed. */
export async function comeInApril(site: Site, slug: string): Promise<MoneyTenant> {
  const key = await openTenant(apiOf(site.url(), site.key), slug)
  const tenant = () => apiOf(site.url(), key)
  const api = tenant()
  await setUpMeters(api)
  await api.call('POST', '/plans', ahead('small', SMALL_CENTS))
  await api.call('POST', '/plans', ahead('large', LARGE_CENTS))
  await api.call('POST', '/plans', TOKENS)
  for (const name of ['ann', 'eve']) await subscribe(api, name, 'small', APRIL_MS)
  await runBilling(api)
  for (const name of ['bob', 'cat']) await subscribe(api, name, 'tokens', APRIL_MS)
  await subscribe(api, 'dan', 'tokens', Date.UTC(2024, 1, 1))
  await api.call('POST', '/customers/bob/credits', { external_key: 'any', amount: '30.00', priority: 1 })
  const scope = { meters: [METERS.context] }
  await api.call('POST', '/customers/bob/credits', { external_key: 'context', amount: '50.00', priority: 0, scope })
  await api.call('POST', '/coupons', { key: 'twice', name: 'Twice', percent: '10', cycles: 2 })
  const start = '2024-02-01T00:00:00Z'
  await api.call('POST', '/subscriptions/dan/discounts', { external_key: 'dan', coupon: 'twice', start })
  return { tenantId: await tenantIdOf(site.ask, slug), tenant, upgradedAtMs: 0, cancelledAtMs: 0 }
}

/** In the middle of April. */
export async function changeInApril(world: MoneyTenant): Promise<MoneyTenant> {
  const api = world.tenant()
  const changed = await api.call<{ phases: { start: string }[] }>('PATCH', '/subscriptions/ann', { plan: 'large' })
  const cancelled = await api.call<{ end: string }>('PATCH', '/subscriptions/eve', { cancel: 'now' })
  await use(api, 'bob', 2_000)
  await use(api, 'cat', 500)
  await buyCredit(world)
  const upgradedAtMs = Date.parse(changed.phases.at(-1)?.start ?? '')
  return { ...world, upgradedAtMs, cancelledAtMs: Date.parse(cancelled.end) }
}

export async function buyCredit({ tenant }: MoneyTenant): Promise<void> {
  const rule = { threshold: '10.00', amount: '60.00', most_purchases: 1, per: 'month' }
  await tenant().call('PUT', '/customers/cat/credit-top-up', rule)
}

type Line = { index: number; amount: string }
type Invoice = {
  id: string
  state: string
  number: string
  customer: { external_key: string }
  lines: Line[]
  total: string
  credit: string
  amount_due: string
}

/** The invoices of all months, as texts of customer, lines, total, what credit paid of it and what is due. */
export function expectedInvoices({ upgradedAtMs, cancelledAtMs }: MoneyTenant): string[] {
  const [back, charge] = [unused(SMALL_CENTS, upgradedAtMs), unused(LARGE_CENTS, upgradedAtMs)]
  const total = dollars(charge - back + LARGE_CENTS)
  const given = dollars(unused(SMALL_CENTS, cancelledAtMs))
  return [
    'ann 100.00 = 100.00, credit 0.00, due 100.00',
    `ann -${dollars(back)} ${dollars(charge)} 300.00 = ${total}, credit 0.00, due ${total}`,
    // The wallet pays its meter's 20.00, and the fee is paid by what pays anything.
    'bob 20.00 20.00 = 40.00, credit 40.00, due 0.00',
    // What she bought has an invoice of its own.
    'cat 60.00 = 60.00, credit 0.00, due 60.00',
    'cat 20.00 5.00 = 25.00, credit 25.00, due 0.00',
    // Ten percent off the fee, twice.
    'dan 20.00 0.00 -2.00 = 18.00, credit 0.00, due 18.00',
    'dan 20.00 0.00 -2.00 = 18.00, credit 0.00, due 18.00',
    'dan 20.00 0.00 = 20.00, credit 0.00, due 20.00',
    'eve 100.00 = 100.00, credit 0.00, due 100.00',
    `eve -${given} = -${given}, credit 0.00, due 0.00`,
  ]
}

export async function readMoney(tenant: Api): Promise<{ invoices: Invoice[]; shown: string[] }> {
  const { invoices } = await tenant.call<{ invoices: Invoice[] }>('GET', '/invoices?limit=100')
  const shown = invoices.map(({ customer, lines, total, credit, amount_due: due }) => {
    const amounts = lines.toSorted((a, b) => a.index - b.index).map(({ amount }) => amount)
    return `${customer.external_key} ${amounts.join(' ')} = ${total}, credit ${credit}, due ${due}`
  })
  return { invoices, shown: shown.toSorted() }
}

/** What is wrong with numbers, payments, credit or an invoice that is computed again; nothing means that all is right. */
export async function moneyProblems(site: Site, { tenantId, tenant }: MoneyTenant): Promise<string[]> {
  const { invoices } = await readMoney(tenant())
  const numbers = invoices.map(({ number }) => number).toSorted()
  const gapless = invoices.map((_, index) => `INV-${String(index + 1).padStart(6, '0')}`)
  const problems = numbers.join() === gapless.join() ? [] : [`numbers are ${numbers.join(', ')}`]
  for (const invoice of invoices) {
    if (invoice.state !== 'paid') problems.push(`${invoice.number} is ${invoice.state}`)
    const verified = await tenant().call<{ equal: boolean }>('GET', `/invoices/${invoice.id}/verification`)
    if (!verified.equal) problems.push(`${invoice.number}: ${JSON.stringify(verified)}`)
  }
  return [...problems, ...(await chargeProblems(site, tenantId, invoices)), ...(await creditProblems(tenant()))]
}

/** Every amount due was paid by one attempt, under one key at the gateway; what credit paid was never charged. */
async function chargeProblems(site: Site, tenantId: number, invoices: Invoice[]): Promise<string[]> {
  const payments = await site.ask.postgres<{ invoice: string; key: string; state: string; minor: string }>(
    `SELECT invoice_id AS invoice, idempotency_key AS key, state, amount_minor::text AS minor FROM payments
     WHERE tenant_id = $1`,
    [tenantId],
  )
  const book = readCharges(site.book)
  return invoices.flatMap(({ id, number, amount_due: due }) => {
    const paid = payments.filter(({ invoice }) => invoice === id)
    // Of a purchase of credit the gateway was asked before there was an invoice.
    const charges = book.filter((one) => one.invoiceId === id || paid.some(({ key }) => key === one.idempotencyKey))
    const keys = new Set(charges.map(({ idempotencyKey, amountMinor }) => `${idempotencyKey} ${amountMinor}`))
    const wanted = due === '0.00' ? [] : [`succeeded ${due.replace('.', '')}`]
    const seen = paid.map(({ state, minor }) => `${state} ${minor}`)
    return seen.join() === wanted.join() && keys.size === wanted.length
      ? []
      : [`${number} of ${due} has payments ${seen.join(', ')} by ${keys.size} charges`]
  })
}

type Grant = { id: string; amount: string; remaining: string }
type Use = { credit_id: string; amount: string; kind: string }

/** Credit is conserved: given = what remains and every use of it, grant by grant; cat's was bought once. */
async function creditProblems(tenant: Api): Promise<string[]> {
  const problems: string[] = []
  for (const name of ['bob', 'cat']) {
    const { credits } = await tenant.call<{ credits: Grant[] }>('GET', `/customers/${name}/credits`)
    const { uses } = await tenant.call<{ uses: Use[] }>('GET', `/customers/${name}/credit-uses`)
    for (const { id, amount, remaining } of credits) {
      const used = uses.filter((one) => one.credit_id === id).reduce((sum, one) => sum + cents(one.amount), 0n)
      if (cents(amount) !== cents(remaining) + used) problems.push(`${name}: ${amount} given, ${remaining} left`)
    }
    const left = credits.map(({ amount, remaining }) => `${remaining} of ${amount}`).toSorted()
    const right = name === 'bob' ? ['10.00 of 30.00', '30.00 of 50.00'] : ['35.00 of 60.00']
    if (left.join() !== right.join()) problems.push(`${name} has ${left.join(', ')}`)
  }
  return problems
}

/** Cat's purchases in the order of their making, and what the gateway was asked for each, which its id is the key of. */
export async function readPurchases(
  site: Site,
  { tenant }: MoneyTenant,
): Promise<{ state: string; asked: string[] }[]> {
  const url = '/customers/cat/credit-purchases'
  const { purchases } = await tenant().call<{ purchases: { id: string; state: string }[] }>('GET', url)
  return purchases.map(({ id, state }) => {
    const charges = readCharges(site.book).filter(({ idempotencyKey }) => idempotencyKey === id)
    return { state, asked: charges.map(({ amountMinor }) => amountMinor) }
  })
}

export function awaitPurchase(site: Site, world: MoneyTenant): Promise<{ state: string; asked: string[] }[]> {
  return eventually(
    () => readPurchases(site, world),
    (seen) => seen.some(({ state }) => state === 'paid'),
  )
}

async function subscribe(api: Api, name: string, plan: string, startMs: number): Promise<void> {
  await api.call('POST', '/customers', { external_key: name, currency: 'USD', subjects: [name] })
  const start = new Date(startMs).toISOString()
  await api.call('POST', '/subscriptions', { external_key: name, customer: name, plan, start })
}

async function use(api: Api, subject: string, context: number): Promise<void> {
  const data = { [METERS.context]: context, [METERS.generated]: 0 }
  const time = '2024-04-10T12:00:00Z'
  const event = { specversion: '1.0', id: `${subject}-1`, source: 'money', type: EVENT_TYPE, subject, time, data }
  await api.call('POST', '/events', event)
}

const MONTHLY = { currency: 'USD', interval: 'month', alignment: 'calendar', grace_seconds: 0 }

function ahead(key: string, amountCents: bigint) {
  const base = { key: 'base', name: 'Base', price: { model: 'flat', amount: dollars(amountCents) } }
  return { ...MONTHLY, key, name: key, fees: 'in_advance', charges: [base] }
}

const TOKENS = {
  ...{ ...MONTHLY, key: 'tokens', name: 'Tokens', fees: 'in_arrears' },
  charges: [
    { key: 'base', name: 'Base', price: { model: 'flat', amount: '20.00' } },
    { key: 'context', name: 'Context', meter: METERS.context, price: { model: 'per_unit', unit_amount: '0.01' } },
  ],
}

/** billing-rules "Proration", once more: amount × (end − t) ÷ length, rounded half up. */
function unused(amountCents: bigint, atMs: number): bigint {
  const length = BigInt(MAY_MS - APRIL_MS)
  return (2n * amountCents * BigInt(MAY_MS - atMs) + length) / (2n * length)
}

function cents(amount: string): bigint {
  return BigInt(amount.replace('.', ''))
}

function dollars(amountCents: bigint): string {
  return `${amountCents / 100n}.${String(amountCents % 100n).padStart(2, '0')}`
}
