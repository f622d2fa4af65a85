/**
 * Operations on events are events too: with the target's tenant, source and id, hence in its shard and partition, and
 * with a type that no emitter can send. ClickHouse's views know the same names.
 */
export const OPERATION_PREFIX = 'tallyline.'
export const VOID_TYPE = 'tallyline.void'
export const REPLACE_TYPE = 'tallyline.replace'

export type OperationKind = 'void' | 'replace'

/** What a replaced event counts as from then on: all of it. `dataJson` as the edge re-encoded it. */
export type Replacement = { type: string; subject: string; timeMs: number; dataJson: string }

/** `operation`: its id. Copies of one operation on one event are one; the first known of them counts. */
export type OperationData = { operation: string; reason: string; by: string; replacement?: Replacement }

/** The data of an operation's event: {operation, reason, by}, of a replacement also {type, subject, time, data}. */
export function encodeOperation({ operation, reason, by, replacement }: OperationData): string {
  const said = JSON.stringify({ operation, reason, by })
  if (!replacement) return said
  const { type, subject, timeMs, dataJson } = replacement
  const event = JSON.stringify({ type, subject, time: new Date(timeMs).toISOString() })
  // The data stays the text it is: parsed, a long number would lose digits.
  return `${said.slice(0, -1)},${event.slice(1, -1)},"data":${dataJson}}`
}

/** An operation's data as it stands in the log; `event` of a replacement. `dataJson` is the text as it was written. */
export type DecodedOperation = {
  operation: string
  reason: string
  by: string
  event?: { type: string; subject: string; time: string; dataJson: string }
}

export function decodeOperation(json: string): DecodedOperation {
  const { data, ...before } = JSON.parse(json) as Record<string, unknown>
  const text = (name: string) => (typeof before[name] === 'string' ? before[name] : '')
  const said = { operation: text('operation'), reason: text('reason'), by: text('by') }
  if (data === undefined) return said
  const dataAt = JSON.stringify(before).length - 1 + ',"data":'.length
  const event = { type: text('type'), subject: text('subject'), time: text('time'), dataJson: json.slice(dataAt, -1) }
  return { ...said, event }
}
