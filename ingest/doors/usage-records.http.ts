import { type Static, Type } from 'typebox'
import type { App, Caller } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { QuantityText } from '../../schemas/quantity.ts'
import type { Outcome } from '../accept/outcome.ts'
import type { UsageRecorder } from '../accept/record.ts'
import { type RecordUsageDeps, recordUsage } from '../usage-records/record-usage.ts'

const Text = (description: string) => Type.String({ minLength: 1, maxLength: 256, description })
const Members = Type.Record(Type.String(), Type.Unknown())
const UsageRecordBody = Type.Object(
  {
    subject: Type.Optional(Text('Who used it; or give customer or subscription_id')),
    customer: Type.Optional(Text('External key or id of a customer with one subject')),
    subscription_id: Type.Optional(Text('Id or external key of a subscription whose customer has one subject')),
    meter: Type.Optional(Text('A meter that sums one property, or that counts; or give type and data')),
    quantity: Type.Optional(Type.Union([Type.Number(), QuantityText], { description: 'How much, on the meter' })),
    metadata: Type.Optional({ ...Members, description: 'Further fields of the event’s data, beside the quantity' }),
    type: Type.Optional(Text('An event type, in place of a meter')),
    data: Type.Optional({ ...Members, description: 'The event’s data, with type' }),
    timestamp: Type.Optional(Type.String({ description: 'RFC 3339; that of arrival when not given' })),
    idempotency_key: Type.Optional(
      Text(
        'The same key again is the same usage and counts once. Without any, a record that is sent again counts again',
      ),
    ),
  },
  {
    additionalProperties: false,
    examples: [
      { customer: 'acme', meter: 'context_tokens', quantity: 374, idempotency_key: 'request-4711' },
      { subject: 'user-1', type: 'llm.request', data: { context_tokens: 374, generated_tokens: 44 } },
    ],
  },
)
const UsageRecordAnswer = Type.Object(
  {
    usage_id: Type.String(),
    source: Type.String(),
    type: Type.String(),
    subject: Type.String(),
    recorded_at: Type.String(),
    quota_remaining: Type.Optional(Type.String()),
    over_quota: Type.Optional(Type.Boolean()),
  },
  {
    examples: [
      {
        usage_id: 'request-4711',
        source: 'usage-records',
        type: 'llm.request',
        subject: 'acme-user-1',
        recorded_at: '2026-11-20T12:00:00.000Z',
      },
    ],
  },
)
const Headers = Type.Object({
  'idempotency-key': Type.Optional(Text('As idempotency_key in the body; give one of them')),
})

export type UsageRecordsDoorDeps = RecordUsageDeps & { recorder: UsageRecorder }

/** Each door is a source of its own: the same key on both is two usages. */
const DOORS = [
  { url: '/api/v1/usage-records', source: 'usage-records', summary: 'Record usage: one event from a quantity.' },
  { url: '/usage/track', source: 'usage-track', summary: 'Track usage: the action for POST /api/v1/usage-records.' },
]

export function usageRecordsDoor(app: App, deps: UsageRecordsDoorDeps): void {
  for (const { url, source, summary } of DOORS) {
    app.post(
      url,
      {
        config: { permission: 'billing:usage:create' },
        schema: { summary, headers: Headers, body: UsageRecordBody, response: { 202: UsageRecordAnswer } },
      },
      async ({ caller, body, headers }, reply) => {
        const answer = await record(deps, caller, source, body, headers['idempotency-key'])
        return reply.code(202).send(answer)
      },
    )
  }
}

async function record(
  deps: UsageRecordsDoorDeps,
  caller: Caller,
  source: string,
  body: Static<typeof UsageRecordBody>,
  header: string | undefined,
): Promise<Static<typeof UsageRecordAnswer>> {
  const { idempotency_key, ...input } = body
  if (header !== undefined && idempotency_key !== undefined && header !== idempotency_key)
    throw invalid('idempotency_key', 'contradicts the header Idempotency-Key')
  const { result, id, type, subject, recordedAt } = await recordUsage(
    deps,
    caller,
    source,
    input,
    header ?? idempotency_key,
  )
  deps.recorder(caller, [result])
  const { outcome } = result
  if (outcome.outcome !== 'accepted') throw problemOf(outcome)
  const { quota_remaining, over_quota } = outcome
  return {
    ...{ usage_id: id, source, type, subject, recorded_at: recordedAt },
    ...(quota_remaining === undefined ? {} : { quota_remaining }),
    ...(over_quota === undefined ? {} : { over_quota }),
  }
}

/** Where the record has what the event calls otherwise. */
const MEMBERS: Readonly<Record<string, string>> = { id: 'idempotency_key', time: 'timestamp' }

function problemOf(outcome: Exclude<Outcome, { outcome: 'accepted' }>): Problem {
  switch (outcome.outcome) {
    case 'rejected': {
      const { code, path, message } = outcome
      const member = MEMBERS[path] ?? path
      const errors = [{ path: member, message }]
      return new Problem('events_refused', `The usage was refused: ${member} ${message}`, {
        errors,
        extra: { reason: code },
      })
    }
    case 'quota_exceeded': {
      const { quota_remaining } = outcome
      return new Problem('quota_exceeded', 'The quota does not cover this usage', { extra: { quota_remaining } })
    }
    default:
      return new Problem('unavailable', 'The usage was not taken: send it again', { retryAfterSeconds: 1 })
  }
}

function invalid(path: string, message: string): Problem {
  return new Problem('invalid_request', `${path} ${message}.`, { errors: [{ path, message }] })
}
