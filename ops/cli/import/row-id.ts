import { createHash } from 'node:crypto'

const YEAR_2020_MS = Date.UTC(2020, 0, 1)
const YEAR_2100_MS = Date.UTC(2100, 0, 1)

const HOUR_MS = 3_600_000

/**
 * The id of a row that brings none: the same for the same file, row and time, whenever and how often it is imported. It
 * must not depend on the day: a repeat on another would count again.
 * A UUIDv7, because the time in it chooses the shard of the identity: of the row's own hour, not of its instant, for a
 * shard is ten seconds wide, and rows spread over years would each get a shard of their own. Of a time outside
 * 2020–2100, or none, a UUIDv8: its shard is one of those for ids without a time.
 */
export function rowId(fileSha256: string, row: number, timeMs: number | undefined): string {
  const hash = createHash('sha256').update(`${fileSha256}\n${row}`).digest('hex')
  const hourMs = timeMs === undefined ? Number.NaN : Math.floor(timeMs / HOUR_MS) * HOUR_MS
  const timed = hourMs >= YEAR_2020_MS && hourMs < YEAR_2100_MS
  const head = timed ? hourMs.toString(16).padStart(12, '0') : hash.slice(20, 32)
  const variant = '89ab'[Number.parseInt(hash[3] ?? '0', 16) % 4]
  return [
    head.slice(0, 8),
    head.slice(8, 12),
    `${timed ? '7' : '8'}${hash.slice(0, 3)}`,
    `${variant}${hash.slice(4, 7)}`,
    hash.slice(7, 19),
  ].join('-')
}
