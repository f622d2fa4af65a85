import { Problem } from '../../../schemas/http/problem.ts'
import { allocate } from '../../../schemas/money.ts'
import type { CreditableLine, CreditNoteLine } from './credit-note.ts'

/** What of a line can still be taken back, with its tax. */
export function restOf(line: CreditableLine): { netMinor: bigint; taxMinor: bigint; grossMinor: bigint } {
  const netMinor = line.netMinor - line.creditedNetMinor
  const taxMinor = line.taxMinor - line.creditedTaxMinor
  return { netMinor, taxMinor, grossMinor: netMinor + taxMinor }
}

/** A line with the discounts that lower it, behind it. */
export type LoweredLine = readonly [CreditableLine, ...CreditableLine[]]

export function loweredLine(line: CreditableLine, lines: readonly CreditableLine[]): LoweredLine {
  return [line, ...lines.filter(({ lowersLine }) => lowersLine === line.lineIndex)]
}

/** What is left of lines together. */
export function restOfAll(lines: readonly CreditableLine[]): ReturnType<typeof restOf> {
  return lines.map(restOf).reduce((sum, rest) => ({
    netMinor: sum.netMinor + rest.netMinor,
    taxMinor: sum.taxMinor + rest.taxMinor,
    grossMinor: sum.grossMinor + rest.grossMinor,
  }))
}

/**
 * An amount with tax off a line, at most what its discounts left of it. All that is left takes its discounts back with it.
 * @throws Problem invalid_request beyond what is left.
 */
export function creditLowered(lowered: LoweredLine, grossMinor: bigint): CreditNoteLine[] {
  const [line, ...discounts] = lowered
  if (discounts.length === 0) return [creditGross(line, grossMinor)]
  const rest = restOfAll(lowered)
  refuseBeyond(line, grossMinor, rest.grossMinor)
  return grossMinor === rest.grossMinor ? creditAll(lowered) : [creditGross(line, grossMinor, rest)]
}

/** Everything that is left, lines below 0 included: together with the notes before it comes to the invoice exactly. */
export function creditAll(lines: readonly CreditableLine[]): CreditNoteLine[] {
  return lines.flatMap((line) => {
    const { netMinor, taxMinor } = restOf(line)
    return netMinor === 0n && taxMinor === 0n ? [] : [{ lineIndex: line.lineIndex, netMinor, taxMinor }]
  })
}

/** An amount with tax over all lines by what is left of them behind their discounts, by largest remainder. */
export function creditPart(lines: readonly CreditableLine[], grossMinor: bigint): CreditNoteLine[] {
  const all = lines.flatMap((line) => (line.lowersLine === null ? [loweredLine(line, lines)] : []))
  const rests = all.map((lowered) => restOfAll(lowered).grossMinor)
  if (grossMinor === rests.reduce((sum, rest) => sum + rest, 0n)) return creditAll(lines)
  const parts = allocate(
    grossMinor,
    rests.map((rest) => (rest > 0n ? rest : 0n)),
  )
  return all.flatMap((lowered, index) => {
    const partMinor = parts[index] ?? 0n
    return partMinor === 0n ? [] : creditLowered(lowered, partMinor)
  })
}

/**
 * An amount with tax off one line. Its tax is that of all taken back so far less what was taken before, so that the last
 * part takes exactly what is left of both. `rest`: what is left, of a line with discounts behind these: no part takes
 * more net or tax than that, so that none is left below 0 for the last one.
 * @throws Problem invalid_request beyond what is left.
 */
export function creditGross(line: CreditableLine, grossMinor: bigint, rest = restOf(line)): CreditNoteLine {
  refuseBeyond(line, grossMinor, rest.grossMinor)
  const creditedMinor = line.creditedNetMinor + line.creditedTaxMinor + grossMinor
  const soFarMinor = shareOf(line.taxMinor, creditedMinor, line.netMinor + line.taxMinor)
  const leastMinor = most(0n, grossMinor - rest.netMinor)
  const taxMinor = most(leastMinor, least(soFarMinor - line.creditedTaxMinor, least(rest.taxMinor, grossMinor)))
  return { lineIndex: line.lineIndex, netMinor: grossMinor - taxMinor, taxMinor }
}

/** An amount without tax off one line, with the tax that goes with it; `rest` as above. */
export function creditNet(line: CreditableLine, netMinor: bigint, rest = restOf(line)): CreditNoteLine {
  refuseBeyond(line, netMinor, rest.netMinor)
  if (netMinor === rest.netMinor) return { lineIndex: line.lineIndex, netMinor, taxMinor: rest.taxMinor }
  const soFarMinor = shareOf(line.taxMinor, line.creditedNetMinor + netMinor, line.netMinor)
  return {
    lineIndex: line.lineIndex,
    netMinor,
    taxMinor: most(0n, least(soFarMinor - line.creditedTaxMinor, rest.taxMinor)),
  }
}

/** The line behind a note on it. */
export function afterCredit(line: CreditableLine, taken: CreditNoteLine): CreditableLine {
  return {
    ...line,
    creditedNetMinor: line.creditedNetMinor + taken.netMinor,
    creditedTaxMinor: line.creditedTaxMinor + taken.taxMinor,
  }
}

function refuseBeyond({ lineIndex }: CreditableLine, wantedMinor: bigint, restMinor: bigint): void {
  if (wantedMinor > 0n && wantedMinor <= restMinor) return
  throw new Problem('invalid_request', `Line ${lineIndex} cannot be credited by that much.`, {
    errors: [{ path: 'lines', message: 'Each amount must be above 0, and at most what is left of the line.' }],
  })
}

/** amount × part ÷ whole, rounded half up; all are 0 or more. */
function shareOf(amountMinor: bigint, partMinor: bigint, wholeMinor: bigint): bigint {
  return wholeMinor === 0n ? 0n : (2n * amountMinor * partMinor + wholeMinor) / (2n * wholeMinor)
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}

function most(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}
