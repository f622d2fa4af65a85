import { Problem } from '../../schemas/http/problem.ts'
import type { RowKey } from './usage.clickhouse.ts'

/** Names the last window of an answer: the next one goes on behind it, whatever came meanwhile. */
export function formatCursor({ startMs, subject, groupValues }: RowKey): string {
  return Buffer.from(JSON.stringify([startMs, subject, ...groupValues])).toString('base64url')
}

/** @throws Problem invalid_request for what is not the cursor of an answer with so many dimensions. */
export function parseCursor(text: string, groups: number): RowKey {
  const [startMs, subject, ...groupValues] = parts(text)
  const texts = groupValues.filter((value) => typeof value === 'string')
  if (Number.isSafeInteger(startMs) && typeof subject === 'string' && texts.length === groups)
    return { startMs: startMs as number, subject, groupValues: texts }
  throw new Problem('invalid_request', 'cursor is not one of an answer to this query', {
    errors: [{ path: 'cursor', message: 'is not one of an answer to this query' }],
  })
}

function parts(text: string): unknown[] {
  try {
    const value: unknown = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'))
    return Array.isArray(value) ? value : []
  } catch {
    return []
  }
}
