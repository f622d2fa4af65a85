import { billOf, dollars } from './bill.ts'
import { type Counted, countBySubject, inMonth, type TestEvent } from './events.ts'
import type { Charge } from './killing-ports.ts'
import type { InvoiceRow, PaymentRow, UsageBySubject } from './read-product.ts'

/**
 * The checks of reliability.md §3.1. Each answers what is wrong, in sentences; nothing means that it holds. The tests
 * of the product expect nothing, those of planted bugs expect the sentences.
 */
type Problems = string[]

/** C1: what was acknowledged is stored, and nothing else. Compared id by id. */
export function identityProblems(acknowledged: ReadonlySet<string>, stored: readonly string[]): Problems {
  const there = new Set(stored)
  return [
    ...[...acknowledged].filter((key) => !there.has(key)).map((key) => `lost: ${key}`),
    ...stored.filter((key) => !acknowledged.has(key)).map((key) => `never acknowledged: ${key}`),
    ...(there.size === stored.length ? [] : [`stored lists ${stored.length - there.size} identities twice`]),
  ]
}

/** C2: usage by subject is the sum over the set of events. */
export function usageProblems(events: Iterable<TestEvent>, usage: UsageBySubject): Problems {
  const expected = countBySubject(events)
  const subjects = new Set([...expected.keys(), ...usage.keys()])
  return [...subjects].flatMap((subject) => {
    const [right, seen] = [usageText(expected.get(subject)), usageText(usage.get(subject))]
    return right === seen ? [] : [`usage of ${subject} is ${seen} instead of ${right}`]
  })
}

function usageText(count: Counted | undefined): string {
  return count ? `${count.events} events, ${count.context} + ${count.generated} tokens` : usageText(NO_USAGE)
}
const NO_USAGE: Counted = { events: 0, context: 0n, generated: 0n }

/** C3: one invoice for each customer's month, with the lines of an independent bill, numbered without gap from 1. */
export function invoiceProblems(events: Iterable<TestEvent>, invoices: readonly InvoiceRow[]): Problems {
  const expected = countBySubject([...events].filter(inMonth))
  const amounts = [...expected].flatMap(([subject, tokens]) => {
    const own = invoices.filter((invoice) => invoice.customer === subject)
    if (own.length !== 1) return [`${subject} has ${own.length} invoices for the month`]
    const [right, seen] = [billOf(tokens).map(dollars).join(' + '), own[0]?.amounts.join(' + ')]
    const total = dollars(billOf(tokens).reduce((sum, line) => sum + line, 0n))
    return [
      ...(right === seen ? [] : [`the invoice of ${subject} has lines ${seen} instead of ${right}`]),
      ...(own[0]?.total === total ? [] : [`the invoice of ${subject} comes to ${own[0]?.total} instead of ${total}`]),
    ]
  })
  const numbers = invoices.map(({ number }) => number).toSorted()
  const gapless = invoices.map((_, index) => `INV-${String(index + 1).padStart(6, '0')}`)
  return numbers.join() === gapless.join() ? amounts : [...amounts, `numbers are ${numbers.join(', ')}`]
}

/** C5: every invoice is paid by one charge of its total; the gateway heard of one key for it, however often. */
export function paymentProblems(
  invoices: readonly InvoiceRow[],
  payments: readonly PaymentRow[],
  charges: readonly Charge[],
): Problems {
  return invoices.flatMap((invoice) => {
    const name = `invoice ${invoice.number} of ${invoice.customer}`
    const own = payments.filter(({ invoiceId }) => invoiceId === invoice.id)
    const asked = charges.filter(({ invoiceId }) => invoiceId === invoice.id)
    const keys = new Set(asked.map(({ idempotencyKey }) => idempotencyKey))
    const wrong = [...own, ...asked].filter(({ amountMinor }) => amountMinor !== invoice.total.replace('.', ''))
    return [
      ...(invoice.state === 'paid' ? [] : [`${name} is ${invoice.state}`]),
      ...(own.length === 1 && own[0]?.state === 'succeeded'
        ? []
        : [`${name} has payments: ${own.map(({ state }) => state).join(', ')}`]),
      ...(keys.size === 1 ? [] : [`${name} was charged ${keys.size} times`]),
      ...(wrong.length === 0 ? [] : [`${name} was charged ${wrong[0]?.amountMinor}`]),
    ]
  })
}
