import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ulid } from '../../../aggregator/doors/openmeter/ulid.ts'
import { uuidV7 } from '../../../ingest/usage-records/uuid.ts'
import { idTimeMs } from '../../../schemas/event/identity.ts'

const instant = fc.integer({ min: Date.UTC(2020, 0, 1), max: Date.UTC(2100, 0, 1) - 1 })

test.each([
  ['a UUIDv7', uuidV7],
  ['a ULID', ulid],
])('%s carries its time to the millisecond, and no two are alike', (_name, make) => {
  fc.assert(fc.property(instant, (ms) => idTimeMs(make(ms)) === ms))
  expect(new Set(Array.from({ length: 1_000 }, () => make(1.7e12))).size).toBe(1_000)
})
