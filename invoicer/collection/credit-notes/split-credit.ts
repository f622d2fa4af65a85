import { Problem } from '../../../schemas/http/problem.ts'
import { allocate } from '../../../schemas/money.ts'
import type { CreditableLine, CreditNoteLine } from './credit-note.ts'

/** What of a line can still be taken back, with its tax. */
export function restOf(line: CreditableLine): { netMinor: bigint; taxMinor: bigint; grossMinor: bigint } {
  const netMinor = line.netMinor - line.creditedNetMinor
  const taxMinor = line.taxMinor - line.creditedTaxMinor
  return { netMinor, taxMinor, grossMinor: netMinor + taxMinor }
}

/** Everything that is left, lines below 0 included: together with the notes before it comes to the invoice exactly. */
export function creditAll(lines: readonly CreditableLine[]): CreditNoteLine[] {
  return lines.flatMap((line) => {
    const { netMinor, taxMinor } = restOf(line)
    return netMinor === 0n && taxMinor === 0n ? [] : [{ lineIndex: line.lineIndex, netMinor, taxMinor }]
  })
}

/** An amount with tax over all lines by what is left of them, by largest remainder. */
export function creditPart(lines: readonly CreditableLine[], grossMinor: bigint): CreditNoteLine[] {
  const rests = lines.map((line) => restOf(line).grossMinor)
  if (grossMinor === rests.reduce((sum, rest) => sum + rest, 0n)) return creditAll(lines)
  const parts = allocate(
    grossMinor,
    rests.map((rest) => (rest > 0n ? rest : 0n)),
  )
  return lines.flatMap((line, index) => {
    const partMinor = parts[index] ?? 0n
    return partMinor === 0n ? [] : [creditGross(line, partMinor)]
  })
}

/**
 * An amount with tax off one line. Its tax is that of all taken back so far less what was taken before, so that the last
 * part takes exactly what is left of both.
 * @throws Problem invalid_request beyond what is left.
 */
export function creditGross(line: CreditableLine, grossMinor: bigint): CreditNoteLine {
  const rest = restOf(line)
  refuseBeyond(line, grossMinor, rest.grossMinor)
  const creditedMinor = line.creditedNetMinor + line.creditedTaxMinor + grossMinor
  const soFarMinor = shareOf(line.taxMinor, creditedMinor, line.netMinor + line.taxMinor)
  const leastMinor = most(0n, grossMinor - rest.netMinor)
  const taxMinor = most(leastMinor, least(soFarMinor - line.creditedTaxMinor, least(rest.taxMinor, grossMinor)))
  return { lineIndex: line.lineIndex, netMinor: grossMinor - taxMinor, taxMinor }
}

/** An amount without tax off one line, with the tax that goes with it. */
export function creditNet(line: CreditableLine, netMinor: bigint): CreditNoteLine {
  const rest = restOf(line)
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
