import { readFileSync } from 'node:fs'

/** The JSON of `demo --json` for a trace, worked out from the words alone: no product code, no floats. */
export function expectedDemo(csvText: string) {
  const rows = csvText
    .trim()
    .split(/\r?\n/)
    .slice(1)
    .map((line) => line.split(','))
  const monthIndexes = rows.map(([time]) => Number(time!.slice(0, 4)) * 12 + Number(time!.slice(5, 7)) - 1)
  const [firstMonth, lastMonth] = [
    monthIndexes.reduce((a, b) => Math.min(a, b)),
    monthIndexes.reduce((a, b) => Math.max(a, b)),
  ]
  const usd = (cents: bigint) => `${cents / 100n}.${String(cents % 100n).padStart(2, '0')}`
  const sum = (values: bigint[]) => values.reduce((total, value) => total + value, 0n)
  const rounded = (microDollars: bigint) => (microDollars + 5_000n) / 10_000n
  const bill = (customer: number) => {
    const own = rows.map((row, index) => ({ row, index })).filter(({ index }) => index % 10 === customer)
    const lines = Array.from({ length: lastMonth - firstMonth + 1 }, (_, offset) => {
      const month = own.filter(({ index }) => monthIndexes[index] === firstMonth + offset)
      const [context, generated] = [1, 2].map((column) => sum(month.map(({ row }) => BigInt(row[column]!)))) as [
        bigint,
        bigint,
      ]
      const beyond = generated > 100_000n ? generated - 100_000n : 0n
      return [2000n, rounded(context * 3n), rounded((generated - beyond) * 15n + beyond * 12n)]
    }).flat()
    const tokens = (column: number) => Number(sum(own.map(({ row }) => BigInt(row[column]!))))
    return {
      events: own.length,
      context_tokens: tokens(1),
      generated_tokens: tokens(2),
      lines: lines.map(usd),
      total: usd(sum(lines)),
      cents: sum(lines),
    }
  }
  const bills = Array.from({ length: 10 }, (_, customer) => bill(customer))
  const invoices = Object.fromEntries(
    bills.map(({ cents: _, ...invoice }, customer) => [`customer-${customer}`, invoice]),
  )
  return { events: rows.length, total: usd(sum(bills.map(({ cents }) => cents))), invoices }
}

export type TraceShape = { rows: number; firstTimeMs: number; spanMs: number }

/** The shape of the public conversation trace: 19,366 rows in one hour. */
const CONVERSATION_HOUR: TraceShape = {
  rows: 19_366,
  firstTimeMs: Date.UTC(2023, 10, 16, 18, 15, 46, 680),
  spanMs: 3_540_000,
}

/**
 * A trace in the form of the public one (CRLF, no final newline, 7-digit fractions), made from the seed, of which the
 * seed then deletes and duplicates rows. A span over several months gives several invoices a customer.
 */
export function shapedTrace(seed: number, shape: Partial<TraceShape> = {}): string {
  const { rows, firstTimeMs, spanMs } = { ...CONVERSATION_HOUR, ...shape }
  const random = lehmer(seed)
  const times = Array.from({ length: rows }, () => random() * spanMs).sort((a, b) => a - b)
  const lines = times.map((offsetMs) => {
    const stamp = new Date(firstTimeMs + offsetMs).toISOString().replace('T', ' ').slice(0, -1)
    const fourDigits = String(Math.floor(random() * 10_000)).padStart(4, '0')
    return `${stamp}${fourDigits},${Math.floor(2_300 * random() ** 2) + 2},${Math.floor(1_000 * random() ** 4) + 7}`
  })
  return shakenTrace(['TIMESTAMP,ContextTokens,GeneratedTokens', ...lines].join('\r\n'), seed + 1)
}

/** About 3 % of the rows deleted and 3 % standing twice; the rows after them change their customers by that. */
export function shakenTrace(csvText: string, seed: number): string {
  const random = lehmer(seed)
  const [header, ...lines] = csvText.trimEnd().split(/\r?\n/)
  const shaken = lines.flatMap((line) => {
    const draw = random()
    return draw < 0.03 ? [] : draw < 0.06 ? [line, line] : [line]
  })
  return [header, ...(shaken.length > 0 ? shaken : lines.slice(0, 1))].join('\r\n')
}

/** The file that TALLYLINE_TRACE names, which must exist then; else a shaped trace of the seed. */
export function traceUnderTest(seed: number): string {
  const file = process.env.TALLYLINE_TRACE
  return file ? readFileSync(file, 'utf8') : shapedTrace(seed)
}

function lehmer(seed: number): () => number {
  let state = (Math.abs(Math.trunc(seed)) % 2_147_483_646) + 1
  const next = () => {
    state = Number((BigInt(state) * 48_271n) % 2_147_483_647n)
    return state / 2_147_483_647
  }
  for (let warmUp = 0; warmUp < 8; warmUp++) next()
  return next
}
