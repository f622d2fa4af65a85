import type { Pool } from 'pg'
import type { App } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import type { KafkaInput } from './input.ts'
import { findInput, listInputs } from './inputs.postgres.ts'
import { InputAnswer, InputBody, InputsAnswer, RejectionsAnswer, RejectionsQuery, TopicPath } from './inputs.shapes.ts'
import { putInput } from './put-input.ts'
import { type ListedRejection, listRejections, type RejectionPlace } from './rejections.postgres.ts'

export type InputsDoorDeps = {
  pool: Pool
  /** What the names of inputs begin with; undefined where there is no Kafka to read them from. */
  prefix: string | undefined
  /** Called when an input has changed. */
  changed: () => void
  now: () => number
}

const DEFAULT_LIMIT = 100

/** The tenant's Kafka inputs, and what of their records was refused. */
export function kafkaInputsDoor(app: App, deps: InputsDoorDeps): void {
  app.put(
    '/api/v1/kafka-inputs/:topic',
    {
      config: { permission: 'billing:kafka-inputs:create' },
      schema: {
        summary: 'Read a Kafka topic as a door: what your producers write to it is taken as events of yours.',
        description:
          'The topic’s name is tallyline-input.<tenant>.<name>; the operator creates it and lets your producers write ' +
          'it. It is read from its beginning. Sent again, it replaces what was said before.',
        params: TopicPath,
        body: InputBody,
        response: { 200: InputAnswer },
      },
    },
    async ({ caller, params: { topic }, body }) => {
      const { prefix } = deps
      if (prefix === undefined) throw new Problem('illegal_state', 'There is no Kafka: its operator sets KAFKA_BROKERS')
      const { format, schemas = [], backfill = false, paused = false } = body
      const stored = await putInput({ ...deps, prefix }, caller, { topic, format, schemas, backfill, paused })
      deps.changed()
      return answerOf(stored)
    },
  )
  app.get(
    '/api/v1/kafka-inputs',
    {
      config: { permission: 'billing:kafka-inputs:read' },
      schema: { summary: 'The tenant’s Kafka inputs.', response: { 200: InputsAnswer } },
    },
    async ({ caller }) => {
      const inputs = await withTenant(deps.pool, caller.tenantId, listInputs)
      return { kafka_inputs: inputs.map(answerOf) }
    },
  )
  rejectionsDoor(app, deps)
}

function rejectionsDoor(app: App, { pool }: InputsDoorDeps): void {
  app.get(
    '/api/v1/kafka-inputs/:topic/rejections',
    {
      config: { permission: 'billing:dead-letters:read' },
      schema: {
        summary: 'Records of a Kafka input, or events in them, that were refused: by partition and offset.',
        description:
          'What is read again is listed as it then ended: rewind the group’s offsets after a schema was mended, and ' +
          'what is taken leaves the list.',
        params: TopicPath,
        querystring: RejectionsQuery,
        response: { 200: RejectionsAnswer },
      },
    },
    async ({ caller, params: { topic }, query }) => {
      const { limit = DEFAULT_LIMIT, cursor } = query
      const after = cursor === undefined ? undefined : placeOf(cursor)
      const rejections = await withTenant(pool, caller.tenantId, async (tx) => {
        if (!(await findInput(tx, topic))) throw new Problem('not_found', `There is no Kafka input ${topic}`)
        return listRejections(tx, topic, { limit, after })
      })
      const last = rejections.at(-1)
      return {
        rejections: rejections.map(rejectionOf),
        next: last && rejections.length === limit ? cursorOf(last) : null,
      }
    },
  )
}

function answerOf({ topic, format, schemas, backfill, paused }: KafkaInput) {
  return { topic, format, schemas: [...schemas], backfill, paused }
}

function rejectionOf(one: ListedRejection) {
  const { partition, offset, events, code, path, message } = one
  return {
    topic_id: one.topicId,
    partition,
    offset,
    last_offset: one.lastOffset,
    event_index: one.eventIndex < 0 ? null : one.eventIndex,
    events,
    id: one.eventId,
    code,
    path,
    message,
    excerpt_base64: one.excerpt.toString('base64'),
    value_bytes: one.valueBytes,
    rejected_at: one.rejectedAt.toISOString(),
  }
}

/** Opaque to the caller: where the last rejection of a page stands. */
function cursorOf({ topicId, partition, offset, eventIndex }: ListedRejection): string {
  return Buffer.from(JSON.stringify([topicId, partition, offset, eventIndex])).toString('base64url')
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const MOST_INTEGER = 2 ** 31 - 1

function placeOf(cursor: string): RejectionPlace {
  try {
    const place = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as RejectionPlace
    const [topicId, partition, offset, eventIndex] = place
    const small = [partition, eventIndex].every((one) => Number.isInteger(one) && Math.abs(one) <= MOST_INTEGER)
    if (small && Number.isSafeInteger(offset) && UUID.test(topicId)) return place
  } catch {
    // Not one of ours.
  }
  const message = 'is not the next of a page'
  throw new Problem('invalid_request', `cursor ${message}`, { errors: [{ path: 'cursor', message }] })
}
