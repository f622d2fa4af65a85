import { createHash } from 'node:crypto'
import Stripe from 'stripe'
import { Problem } from '../../../schemas/http/problem.ts'
import type { Line } from '../lines.ts'
import { atMost } from './at-most.ts'
import { type StripeTaxes, stripeTerms } from './stripe-terms.ts'
import type { TaxContext, TaxTerms } from './tax.ts'
import type { TaxEngine } from './tax-port.ts'
import { alikeKey, type TaxedAlike, taxed, taxedAlike } from './taxed.ts'

export type StripeTaxSettings = {
  apiKey: string
  /** Where Stripe is, if not at its own address: 'http://127.0.0.1:12111'. */
  url?: string | undefined
}

/** Beyond some dozens Stripe answers 429. */
const ASKED_AT_ONCE = 16
const TIMEOUT_MS = 10_000
const RETRIES = 2
/** Stripe knows the rates of so many days around now, a day less for its clock: others are asked for as of the nearest. */
const DAYS_AROUND_NOW = 30
const DAY_MS = 86_400_000
/** Where Stripe's smallest unit is not that of ISO 4217: https://docs.stripe.com/currencies#special-cases. */
const HUNDREDTHS = new Set(['ISK', 'UGX'])
const TENS = new Set(['BHD', 'JOD', 'KWD', 'OMR', 'TND'])

/**
 * Stripe Tax decides which taxes an invoice bears: its lines are asked for by day and class, with the customer's address, tax ids
 * and exemption. The amounts are made from its rates as ever, so that lines add up, and are verified and given back in parts;
 * where they come to something else than Stripe says, by more than what rounding makes, the subscription is parked. Asked
 * again for the same within a day, as a run is that goes on, Stripe answers the same.
 */
export function stripeTax({ apiKey, url }: StripeTaxSettings, now: () => number): TaxEngine {
  const client = new Stripe(apiKey, {
    ...(url === undefined ? {} : addressOf(url)),
    maxNetworkRetries: RETRIES,
    timeout: TIMEOUT_MS,
    telemetry: false,
  })
  const inTurn = atMost(ASKED_AT_ONCE)
  return async (draft, context, atMs, currency) => {
    const groups = taxedAlike(draft, context, atMs)
    const answers = new Map(
      await Promise.all(
        [...groups].map(async ([key, group]): Promise<[key: string, Answer]> => {
          const asked = paramsOf(context, group, currency, now())
          return [key, await inTurn(() => ask(client, asked))]
        }),
      ),
    )
    const terms = new Map(
      [...answers].map(([key, answer]) => [key, termsOf(answer, context, groups.get(key)?.taxClass)]),
    )
    const answer = taxed(draft, context, atMs, (_context, day, taxClass) => {
      return terms.get(alikeKey(day, taxClass)) ?? unknown(day)
    })
    for (const [key, { lines }] of groups) {
      const places = lines.map((line) => draft.lines.indexOf(line))
      checkTaxes(
        key,
        answers.get(key) ?? unknown(key),
        places.flatMap((place) => answer.lines[place] ?? []),
        currency,
      )
    }
    return answer
  }
}

type Asked = Stripe.Tax.CalculationCreateParams
type Answer = StripeTaxes & { amountMinor: bigint }

function addressOf(url: string): { host: string; port: string; protocol: 'http' | 'https' } {
  const { hostname, port, protocol } = new URL(url)
  const isPlain = protocol === 'http:'
  return { host: hostname, port: port || (isPlain ? '80' : '443'), protocol: isPlain ? 'http' : 'https' }
}

async function ask(client: Stripe, asked: Asked): Promise<Answer> {
  const idempotencyKey = `tallyline-tax-${createHash('sha256').update(JSON.stringify(asked)).digest('base64url')}`
  const [{ amount = 0 } = {}] = asked.line_items
  try {
    const calculation = await client.tax.calculations.create(asked, { idempotencyKey })
    const { tax_amount_exclusive, tax_amount_inclusive, tax_breakdown } = calculation
    return {
      amountMinor: BigInt(amount),
      taxMinor: BigInt(tax_amount_exclusive + tax_amount_inclusive),
      parts: tax_breakdown.map(({ tax_rate_details: details, taxability_reason, taxable_amount }) => ({
        percentage: details.percentage_decimal,
        country: details.country,
        state: details.state,
        kind: details.tax_type,
        reason: taxability_reason,
        taxableMinor: BigInt(taxable_amount),
      })),
    }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new Problem('calculation_failed', `Stripe Tax did not tell the tax: ${reason}`, { cause })
  }
}

/**
 * One line for all of a day and class: they are of one kind, and Stripe knows no line below 0. A class that the legal entity
 * has no code of Stripe's for is sold as what the Stripe account sells by default.
 */
function paramsOf(context: TaxContext, { day, taxClass, lines }: TaxedAlike, currency: string, nowMs: number): Asked {
  const { buyer, seller } = context
  const code = taxClass === undefined ? undefined : seller.tax.codes?.[taxClass]
  if (!buyer.address) {
    throw new Problem(
      'calculation_failed',
      `The tax of customer ${JSON.stringify(buyer.key)} is not known: set its billing address.`,
    )
  }
  const { line1, line2, city, region, postalCode, country } = buyer.address
  const given = { line1, line2, city, state: region, postal_code: postalCode }
  const address = Object.fromEntries(
    Object.entries(given).flatMap(([key, text]) => (text === null ? [] : [[key, text]])),
  )
  const behavior = seller.tax.inclusive ? 'inclusive' : 'exclusive'
  return {
    currency: currency.toLowerCase(),
    tax_date: Math.floor(nearest(Date.parse(`${day}T12:00:00Z`), nowMs) / 1_000),
    line_items: [
      {
        ...{ amount: stripeAmount(sumOf(lines), currency), reference: alikeKey(day, taxClass) },
        ...{ tax_behavior: behavior, ...(code === undefined ? {} : { tax_code: code }) },
      },
    ],
    customer_details: {
      address: { ...address, country },
      address_source: 'billing',
      tax_ids: buyer.taxIds.map(({ type, value }) => ({ type, value })),
      taxability_override: buyer.taxExemption === null ? 'none' : 'customer_exempt',
    },
  }
}

/** Of nothing at all one whole unit: what is asked for is the rate. */
function stripeAmount(sumMinor: bigint, currency: string): number {
  const minor = sumMinor < 0n ? -sumMinor : sumMinor || 100n
  if (HUNDREDTHS.has(currency)) return Number(minor * 100n)
  return Number(TENS.has(currency) ? ((minor + 9n) / 10n) * 10n : minor)
}

function nearest(atMs: number, nowMs: number): number {
  return Math.min(Math.max(atMs, nowMs - DAYS_AROUND_NOW * DAY_MS), nowMs + DAYS_AROUND_NOW * DAY_MS)
}

function termsOf(answer: Answer, { seller, buyer }: TaxContext, taxClass: string | undefined): TaxTerms {
  const netMinor = seller.tax.inclusive ? answer.amountMinor - answer.taxMinor : answer.amountMinor
  const certificate = buyer.taxExemption?.certificate ?? null
  const terms = stripeTerms(answer, netMinor, { country: buyer.country ?? seller.country, certificate })
  return taxClass === undefined ? terms : { ...terms, code: `${terms.code}/${taxClass}` }
}

/** What rounding makes: a unit for each line, and one for each jurisdiction. */
function checkTaxes(day: string, { taxMinor, parts }: Answer, lines: readonly Line[], currency: string): void {
  if (sumOf(lines) === 0n) return
  const sum = lines.reduce((total, { tax }) => total + (tax?.amountMinor ?? 0n), 0n)
  const ours = (sum < 0n ? -sum : sum) * (HUNDREDTHS.has(currency) ? 100n : 1n)
  const unit = HUNDREDTHS.has(currency) ? 100n : TENS.has(currency) ? 10n : 1n
  const most = BigInt(lines.length + parts.length) * unit
  if (ours - taxMinor <= most && taxMinor - ours <= most) return
  throw new Problem('calculation_failed', `Stripe Tax says ${taxMinor} of ${day} where its rates make ${ours}.`)
}

function sumOf(lines: readonly Line[]): bigint {
  return lines.reduce((sum, { amountMinor }) => sum + amountMinor, 0n)
}

function unknown(day: string): never {
  throw new Problem('calculation_failed', `Nothing was asked of ${day}.`)
}
