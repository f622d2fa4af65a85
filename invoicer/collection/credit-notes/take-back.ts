import type { CreditableInvoice, CreditableLine, CreditNoteLine } from './credit-note.ts'
import { afterCredit, creditGross, creditNet, restOf } from './split-credit.ts'

/** What comes off which invoice, and what the balance gets instead, with its tax. */
export type TakenBack = { taken: Map<string, CreditNoteLine[]>; balanceMinor: bigint }

/**
 * Takes an amount back from the lines that billed it, in their order; it is a part of their amounts, which have their tax
 * inside or on top. Of an invoice at most what its lines of this charge come to together, less what was credited of them.
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
    const line = lineAt(place, invoices)
    if (line === undefined) continue
    restOfInvoice.set(place.invoiceId, (restOfInvoice.get(place.invoiceId) ?? 0n) + restOfAmount(line))
  }
  for (const place of lines) {
    const invoice = invoices.get(place.invoiceId)
    const line = lineAt(place, invoices)
    if (invoice === undefined || line === undefined) continue
    const mostMinor = restOfInvoice.get(invoice.id) ?? 0n
    const partMinor = [leftMinor, mostMinor, restOfAmount(line)].reduce((a, b) => (a < b ? a : b))
    if (partMinor <= 0n) continue
    leftMinor -= partMinor
    restOfInvoice.set(invoice.id, mostMinor - partMinor)
    const whole = line.taxInside ? creditGross(line, partMinor) : creditNet(line, partMinor)
    const noted = atMost(whole, line, invoice.totalMinor - invoice.creditedMinor)
    balanceMinor += grossOf(whole) - grossOf(noted)
    if (grossOf(noted) > 0n) taken.set(invoice.id, [...(taken.get(invoice.id) ?? []), noted])
    invoices.set(invoice.id, {
      ...invoice,
      creditedMinor: invoice.creditedMinor + grossOf(noted),
      lines: invoice.lines.map((one) => (one === line ? afterCredit(one, whole) : one)),
    })
  }
  return { taken, balanceMinor: balanceMinor + leftMinor }
}

function lineAt(
  { invoiceId, lineIndex }: { invoiceId: string; lineIndex: number },
  invoices: ReadonlyMap<string, CreditableInvoice>,
): CreditableLine | undefined {
  return invoices.get(invoiceId)?.lines.find((one) => one.lineIndex === lineIndex)
}

/** Of a line's amount as it was billed. */
function restOfAmount(line: CreditableLine): bigint {
  const { netMinor, grossMinor } = restOf(line)
  return line.taxInside ? grossMinor : netMinor
}

function atMost(whole: CreditNoteLine, line: CreditableLine, restMinor: bigint): CreditNoteLine {
  if (grossOf(whole) <= restMinor) return whole
  return restMinor > 0n ? creditGross(line, restMinor) : { lineIndex: line.lineIndex, netMinor: 0n, taxMinor: 0n }
}

function grossOf({ netMinor, taxMinor }: CreditNoteLine): bigint {
  return netMinor + taxMinor
}
