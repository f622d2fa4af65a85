import type { CreditableInvoice, CreditNoteLine } from './credit-note.ts'
import {
  afterCredit,
  creditAll,
  creditGross,
  creditNet,
  type LoweredLine,
  loweredLine,
  restOfAll,
} from './split-credit.ts'

/** What comes off which invoice, and what the balance gets instead, with its tax. */
export type TakenBack = { taken: Map<string, CreditNoteLine[]>; balanceMinor: bigint }

/**
 * Takes an amount back from the lines that billed it, in their order; it is a part of their amounts, which have their tax
 * inside or on top. Of an invoice at most what its lines of this charge come to together behind their discounts, less what
 * was credited of them.
 * What an invoice cannot give because other lines lowered its total goes to the balance with the tax of its line; so does,
 * as it is, what no line has. `invoices` is brought to what is left of them then.
 */
export function takeBack(
  { amountMinor, lines }: { amountMinor: bigint; lines: readonly { invoiceId: string; lineIndex: number }[] },
  invoices: Map<string, CreditableInvoice>,
): TakenBack {
  const taken = new Map<string, CreditNoteLine[]>()
  let leftMinor = amountMinor
  let balanceMinor = 0n
  const restOfInvoice = new Map<string, bigint>()
  for (const place of lines) {
    const lowered = lineAt(place, invoices)
    if (lowered === undefined) continue
    restOfInvoice.set(place.invoiceId, (restOfInvoice.get(place.invoiceId) ?? 0n) + restOfAmount(lowered))
  }
  for (const place of lines) {
    const invoice = invoices.get(place.invoiceId)
    const lowered = lineAt(place, invoices)
    if (invoice === undefined || lowered === undefined) continue
    const mostMinor = restOfInvoice.get(invoice.id) ?? 0n
    const partMinor = [leftMinor, mostMinor, restOfAmount(lowered)].reduce((a, b) => (a < b ? a : b))
    if (partMinor <= 0n) continue
    leftMinor -= partMinor
    restOfInvoice.set(invoice.id, mostMinor - partMinor)
    const whole = creditAmount(lowered, partMinor)
    const noted = atMost(whole, lowered, invoice.totalMinor - invoice.creditedMinor)
    balanceMinor += grossOf(whole) - grossOf(noted)
    if (grossOf(noted) > 0n) taken.set(invoice.id, [...(taken.get(invoice.id) ?? []), ...noted])
    invoices.set(invoice.id, {
      ...invoice,
      creditedMinor: invoice.creditedMinor + grossOf(noted),
      lines: invoice.lines.map((one) => {
        const own = whole.find(({ lineIndex }) => lineIndex === one.lineIndex)
        return own === undefined ? one : afterCredit(one, own)
      }),
    })
  }
  return { taken, balanceMinor: balanceMinor + leftMinor }
}

/** With the discounts that lower it; a discount is none by itself. */
function lineAt(
  { invoiceId, lineIndex }: { invoiceId: string; lineIndex: number },
  invoices: ReadonlyMap<string, CreditableInvoice>,
): LoweredLine | undefined {
  const lines = invoices.get(invoiceId)?.lines ?? []
  const line = lines.find((one) => one.lineIndex === lineIndex)
  return line === undefined || line.lowersLine !== null ? undefined : loweredLine(line, lines)
}

/** Of a line's amount as it was billed, behind its discounts. */
function restOfAmount(lowered: LoweredLine): bigint {
  const { netMinor, grossMinor } = restOfAll(lowered)
  return lowered[0].taxInside ? grossMinor : netMinor
}

/** All that is left takes the discounts of the line back with it. */
function creditAmount(lowered: LoweredLine, partMinor: bigint): CreditNoteLine[] {
  const [line, ...discounts] = lowered
  if (discounts.length > 0 && partMinor === restOfAmount(lowered)) return creditAll(lowered)
  const rest = restOfAll(lowered)
  return [line.taxInside ? creditGross(line, partMinor, rest) : creditNet(line, partMinor, rest)]
}

function atMost(whole: CreditNoteLine[], lowered: LoweredLine, restMinor: bigint): CreditNoteLine[] {
  if (grossOf(whole) <= restMinor) return whole
  return restMinor > 0n ? [creditGross(lowered[0], restMinor, restOfAll(lowered))] : []
}

function grossOf(lines: readonly CreditNoteLine[]): bigint {
  return lines.reduce((sum, { netMinor, taxMinor }) => sum + netMinor + taxMinor, 0n)
}
