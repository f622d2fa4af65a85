import fc from 'fast-check'
import { expect, test } from 'vitest'
import { counterOfKey } from '../../../ingest/quota/counter-admin.redis.ts'
import { counterKey } from '../../../ingest/quota/quota-request.ts'
import type { CounterKey } from '../../../ingest/quota/quota-store.ts'

const counter: fc.Arbitrary<CounterKey> = fc
  .record({
    tenant: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
    subject: fc.oneof(
      fc.string({ unit: 'binary', minLength: 1 }),
      fc.string({ unit: fc.constantFrom('a', ':', '{', '}', '-', '1', '\n', '@'), minLength: 1 }),
    ),
    meter: fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,62}$/),
    startMs: fc.integer({ min: -1e12, max: 4e12 }),
    endMs: fc.integer({ min: -1e12, max: 4e12 }),
    ofCustomer: fc.boolean(),
  })
  .map(({ ofCustomer, ...key }) => (ofCustomer ? { ...key, ofCustomer: true as const } : key))

test('a counter is known by its key in Redis, whatever the subject is called', () => {
  fc.assert(
    fc.property(counter, (one) => {
      expect(counterOfKey(counterKey(one))).toEqual(one)
    }),
    { numRuns: 1_000 },
  )
})

test.each([
  'quota:{7}:held:0-1:calls:alice',
  'quota:{7}:held:0-1:calls:}:used:0-1:calls:alice',
  'quota:{7}:holds',
  'quota:{7}:used:0-1:calls',
  'quota:{7}:used:01-2:calls:alice',
  'quota:{07}:used:1-2:calls:alice',
  'quota:{x}:used:1-2:calls:alice',
  'quota:{7}:used:1:calls:alice',
  'billing_cache:{7}:alice',
])('%s is the key of no counter', (key) => {
  expect(counterOfKey(key)).toBeUndefined()
})
