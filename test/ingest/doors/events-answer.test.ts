import fc from 'fast-check'
import { fastify } from 'fastify'
import { afterAll, expect, test } from 'vitest'
import type { Accepted } from '../../../ingest/accept/accept.ts'
import { countOutcomes, type Outcome } from '../../../ingest/accept/outcome.ts'
import { answerBytes, EventsAnswer } from '../../../ingest/doors/events-answer.ts'

/** Answers with what it is sent, written by the serializer of the schema. */
const app = fastify({ bodyLimit: 10_000_000 })
app.post('/', { schema: { response: { 202: EventsAnswer } } }, async (request, reply) =>
  reply.code(202).send(request.body as never),
)
afterAll(() => app.close())

async function asSerialized(results: readonly Accepted[]): Promise<string> {
  const outcomes = results.map(({ outcome }, index) => ({ index, ...outcome }))
  const payload = { ...countOutcomes(results), outcomes }
  return (await app.inject({ method: 'POST', url: '/', payload })).body
}

/** Attributes are well-formed texts: what is not was refused, and is not in the answer. */
const text = fc.oneof(fc.uuid(), fc.string(), fc.string({ unit: 'grapheme', maxLength: 60 }))
const amount = fc.bigInt({ min: 0n, max: 10n ** 20n }).map(String)
const outcome: fc.Arbitrary<Outcome> = fc.oneof(
  fc.record(
    {
      outcome: fc.constant('accepted' as const),
      id: text,
      quota_remaining: amount,
      over_quota: fc.constant(true as const),
    },
    { requiredKeys: ['outcome', 'id'] },
  ),
  fc.record({ outcome: fc.constant('duplicate' as const), id: text }),
  fc.record(
    { outcome: fc.constant('rejected' as const), id: text, code: text, path: text, message: text },
    { requiredKeys: ['outcome', 'code', 'path', 'message'] },
  ),
  fc.record({ outcome: fc.constant('quota_exceeded' as const), id: text, quota_remaining: amount }),
  fc.record({
    outcome: fc.constant('failed' as const),
    id: text,
    retryable: fc.constant(true as const),
    message: text,
  }),
)

test('the answer is, byte for byte, what the serializer of its schema writes', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(outcome, { maxLength: 12 }), async (outcomes) => {
      const results = outcomes.map((one) => ({ outcome: one, event: undefined }))
      expect(answerBytes(results).toString()).toBe(await asSerialized(results))
    }),
  )
})

test('a quote, a backslash and what is not ASCII stand in it as JSON writes them', () => {
  const id = '"\\\u2028é😀'
  const results = [{ outcome: { outcome: 'accepted', id } as const, event: undefined }]
  expect(JSON.parse(answerBytes(results).toString())).toMatchObject({ outcomes: [{ index: 0, id }] })
})
