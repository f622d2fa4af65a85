import { locate } from '../../schemas/event/identity.ts'
import {
  encodeOperation,
  type OperationKind,
  REPLACE_TYPE,
  type Replacement,
  VOID_TYPE,
} from '../../schemas/event/operation.ts'
import { encodeEvent } from '../../schemas/event/usage-event.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { readCloudEvent } from '../accept/cloud-event.ts'
import type { TenantConfig } from '../accept/config.ts'
import type { Outcome } from '../accept/outcome.ts'
import { checkIdTime, createPrepare } from '../accept/prepare.ts'
import type { EncodedEvent } from '../append/batcher.ts'

/** One correction as it was asked for; `event` is what a replaced event counts as, not yet checked. */
export type CorrectionInput = { source: string; id: string; reason: string; event?: ReplacementInput }
export type ReplacementInput = { type: string; subject: string; time: string; data: unknown }

/** An operation that may be appended. `identity` tells its target from others. */
export type Correction = EncodedEvent & { id: string; identity: string; said: string }
export type Rejected = Extract<Outcome, { outcome: 'rejected' }>

/** What is the same for all corrections of a request. */
export type CorrectionOptions = {
  tenant: TenantId
  kind: OperationKind
  operationId: string
  /** The key that asked. */
  by: string
  config: TenantConfig
  nowMs: number
  mayBackfill: boolean
  partitions: number
}

/** Checks a correction and encodes its operation. Its target need not be known: a void may arrive first. */
export function prepareCorrection(options: CorrectionOptions, input: CorrectionInput): Correction | Rejected {
  const { tenant, nowMs, partitions } = options
  const { source, id, event } = input
  const replacement = options.kind === 'replace' ? readReplacement(options, source, id, event) : undefined
  if (replacement && 'outcome' in replacement) return replacement
  // Whether a void's target has a source and an id as events have them, an event of nothing else tells.
  const target = readCloudEvent({ source, id, type: '-', subject: '-', data: {} }, nowMs, options)
  if (!target.ok) return { outcome: 'rejected', id, code: target.code, path: target.path, message: target.message }
  const located = locate({ tenant, source, id }, partitions)
  const wrongTime = checkIdTime(located, nowMs)
  if (wrongTime) return { outcome: 'rejected', id, code: 'id_time', path: 'id', message: wrongTime }
  return encodeCorrection(options, input, replacement)
}

/** The operation of a target that is known to be right. */
export function encodeCorrection(
  { tenant, kind, operationId, by, nowMs, partitions }: Omit<CorrectionOptions, 'config' | 'mayBackfill'>,
  { source, id, reason }: CorrectionInput,
  replacement?: Replacement,
): Correction {
  const { key: identity, shard, partition } = locate({ tenant, source, id }, partitions)
  const said = encodeOperation({ operation: operationId, reason, by, ...(replacement ? { replacement } : {}) })
  const type = kind === 'void' ? VOID_TYPE : REPLACE_TYPE
  const time = { timeMs: nowMs, timeGiven: true }
  const encoded = encodeEvent({ tenant, source, id, shard, type, subject: '', ...time, data: said })
  return { id, identity, partition, encoded, said }
}

/** The new event must pass everything that an event sent now must pass, its meters included. */
function readReplacement(
  options: CorrectionOptions,
  source: string,
  id: string,
  event: ReplacementInput | undefined,
): Replacement | Rejected {
  if (!event) {
    const message = 'is missing; say what the event is to count as'
    return { outcome: 'rejected', id, code: 'missing_field', path: 'event', message }
  }
  const raw = { source, id, ...event }
  const prepared = createPrepare({ ...options, ofBackfill: true })(raw)
  if ('outcome' in prepared) {
    const inEvent = !['source', 'id'].includes(prepared.path)
    return inEvent ? { ...prepared, path: `event.${prepared.path}` } : prepared
  }
  const read = readCloudEvent(raw, options.nowMs, options)
  const checked = options.config.types.get(event.type)?.validate(event.data)
  if (!read.ok || !checked?.ok) throw new Error('An event that was accepted is refused when it is read again')
  const { type, subject, timeMs } = read.event
  return { type, subject, timeMs, dataJson: checked.json }
}
