import type { InvoiceAnswer } from './billing-run.ts'
import { CONTEXT_METER, CUSTOMERS, GENERATED_METER } from './demo-catalog.ts'

export type CustomerSummary = {
  events: bigint
  contextTokens: bigint
  generatedTokens: bigint
  lineAmounts: string[]
  totalCents: bigint
}
export type DemoSummary = {
  invoices: InvoiceAnswer[]
  byCustomer: Map<string, CustomerSummary>
  total: CustomerSummary
}

/** Adds up what the product invoiced. Integers throughout: a sum of floats would not prove anything. */
export function summarise(answers: readonly InvoiceAnswer[]): DemoSummary {
  const rank = new Map(CUSTOMERS.map((customer, index) => [customer, index]))
  const rankOf = ({ customer }: InvoiceAnswer) => rank.get(customer.external_key) ?? CUSTOMERS.length
  const invoices = answers
    .filter((invoice) => rank.has(invoice.customer.external_key))
    .sort((a, b) => rankOf(a) - rankOf(b) || Date.parse(a.period_start) - Date.parse(b.period_start))
  const byCustomer = new Map(
    CUSTOMERS.map((customer) => [
      customer,
      addUp(invoices.filter((invoice) => invoice.customer.external_key === customer)),
    ]),
  )
  return { invoices, byCustomer, total: addUp(invoices) }
}

function addUp(invoices: readonly InvoiceAnswer[]): CustomerSummary {
  const lines = invoices.flatMap((invoice) => invoice.lines.toSorted((a, b) => a.index - b.index))
  const ofMeter = (slug: string) => lines.filter(({ meter }) => meter === slug)
  const sum = (values: bigint[]) => values.reduce((total, value) => total + value, 0n)
  return {
    // Both meters count the same events, so one of them gives the number.
    events: sum(ofMeter(CONTEXT_METER).map(({ events }) => BigInt(events ?? 0))),
    contextTokens: sum(ofMeter(CONTEXT_METER).map(({ quantity }) => wholeNumber(quantity ?? '0'))),
    generatedTokens: sum(ofMeter(GENERATED_METER).map(({ quantity }) => wholeNumber(quantity ?? '0'))),
    lineAmounts: lines.map(({ amount }) => amount),
    totalCents: sum(invoices.map(({ total }) => centsOf(total))),
  }
}

/** The one object of `--json`. Written by hand because JSON.stringify has no integers beyond 2^53. */
export function summaryJson({ byCustomer, total }: DemoSummary): string {
  const invoices = [...byCustomer].map(
    ([customer, { events, contextTokens, generatedTokens, lineAmounts, totalCents }]) =>
      `${JSON.stringify(customer)}:{"events":${events},"context_tokens":${contextTokens},` +
      `"generated_tokens":${generatedTokens},"lines":${JSON.stringify(lineAmounts)},"total":"${dollars(totalCents)}"}`,
  )
  return `{"events":${total.events},"total":"${dollars(total.totalCents)}","invoices":{${invoices.join(',')}}}`
}

/** A table for people: each invoice with its lines, then the sum. */
export function summaryTable({ invoices, total }: DemoSummary): string {
  const blocks = invoices.map((invoice) => {
    const { number, customer, period_start, period_end, state, currency } = invoice
    const period = `${period_start.slice(0, 10)} to ${period_end.slice(0, 10)}`
    const lines = invoice.lines
      .toSorted((a, b) => a.index - b.index)
      .map(({ description, quantity, amount }) => tableLine(description, quantity ? grouped(quantity) : '', amount))
    const head = `${number}  ${customer.external_key}  ${period}  ${state}`
    return [head, ...lines, tableLine('Total', currency, invoice.total), ''].join('\n')
  })
  const sum = `${invoices.length} invoices, ${grouped(total.events.toString())} events, ${dollars(total.totalCents)} USD`
  return [...blocks, sum, ''].join('\n')
}

function tableLine(name: string, quantity: string, amount: string): string {
  return `  ${name.padEnd(24)}${quantity.padStart(16)}${grouped(amount).padStart(14)}`
}

/** 2182292 as 2,182,292; a fraction stays as it is. */
function grouped(decimal: string): string {
  const [whole = '', fraction] = decimal.split('.')
  const thousands = whole.replace(/\B(?=(\d{3})+$)/g, ',')
  return fraction === undefined ? thousands : `${thousands}.${fraction}`
}

function wholeNumber(quantity: string): bigint {
  const [, digits] = /^(\d+)(?:\.0+)?$/.exec(quantity) ?? []
  if (digits === undefined) throw new Error(`An invoice line counts ${quantity} tokens, which is not a whole number.`)
  return BigInt(digits)
}

function centsOf(amount: string): bigint {
  const [, sign, whole, cents] = /^(-?)(\d+)\.(\d{2})$/.exec(amount) ?? []
  if (whole === undefined || cents === undefined)
    throw new Error(`An invoice has the amount ${amount}, not dollars and cents.`)
  return BigInt(`${sign}${whole}${cents}`)
}

function dollars(amountCents: bigint): string {
  const sign = amountCents < 0n ? '-' : ''
  const digits = (amountCents < 0n ? -amountCents : amountCents).toString().padStart(3, '0')
  return `${sign}${digits.slice(0, -2)}.${digits.slice(-2)}`
}
