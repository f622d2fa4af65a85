import fc from 'fast-check'
import { v7 } from 'uuid'
import { describe, expect, test } from 'vitest'
import {
  FIRST_OPAQUE_SHARD,
  type Identity,
  identityKey,
  idTimeMs,
  locate,
  partitionOf,
  SHARD_SLICE_MS,
  shardClosesAtMs,
  shardOf,
} from '../../../schemas/event/identity.ts'

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const from2020 = Date.UTC(2020, 0, 1)
const to2100 = Date.UTC(2100, 0, 1)
const anyTime = fc.integer({ min: from2020, max: to2100 - 1 })
const anyText = fc.string({ minLength: 1, maxLength: 40 }).map((text) => text.replaceAll('\n', ' '))

function ulidAt(ms: number, tail = '0123456789ABCDEF'): string {
  let rest = ms
  let text = ''
  for (let place = 0; place < 10; place++) {
    text = CROCKFORD.charAt(rest % 32) + text
    rest = Math.floor(rest / 32)
  }
  return text + tail
}

const uuidAt = (ms: number) => v7({ msecs: ms })
const idAt = fc.tuple(anyTime, fc.constantFrom(uuidAt, ulidAt)).map(([ms, make]) => ({ ms, id: make(ms) }))
const identity = (id: string, change: Partial<Identity> = {}): Identity => ({ tenant: 1, source: 's', id, ...change })

describe('the time inside an id', () => {
  test('is read back from every UUIDv7 and ULID of 2020–2100, in any case', () => {
    fc.assert(
      fc.property(idAt, ({ ms, id }) => {
        expect(idTimeMs(id)).toBe(ms)
        expect(idTimeMs(id.toUpperCase())).toBe(ms)
        expect(idTimeMs(id.toLowerCase())).toBe(ms)
      }),
    )
  })

  test('outside 2020–2100 it is none: the id is opaque', () => {
    for (const make of [uuidAt, ulidAt]) {
      expect(idTimeMs(make(from2020))).toBe(from2020)
      expect(idTimeMs(make(from2020 - 1))).toBeUndefined()
      expect(idTimeMs(make(to2100 - 1))).toBe(to2100 - 1)
      expect(idTimeMs(make(to2100))).toBeUndefined()
      expect(idTimeMs(make(0))).toBeUndefined()
      expect(shardOf(identity(make(to2100)))).toBeGreaterThanOrEqual(FIRST_OPAQUE_SHARD)
    }
  })

  test.each([
    ['a UUIDv4', '0d3a6a6f-1c11-4b1a-9d55-0d3a6a6f1c11'],
    ['version 7 with another variant', '0198f4e2-7c3e-7b1a-1d55-0d3a6a6f1c11'],
    ['a UUIDv7 in braces', '{0198f4e2-7c3e-7b1a-9d55-0d3a6a6f1c11}'],
    ['a UUIDv7 without hyphens', '0198f4e27c3e7b1a9d550d3a6a6f1c11'],
    ['a ULID with a letter that Crockford lacks', `${ulidAt(from2020).slice(0, 25)}U`],
    ['a ULID that overflows 128 bits', `8${ulidAt(from2020).slice(1)}`],
    ['a row number', 'row-17'],
    ['nothing', ''],
  ])('%s has none', (_name, id) => {
    expect(idTimeMs(id)).toBeUndefined()
  })
})

test('a text is a UUIDv7 if its expression says so, however near to one it comes', () => {
  const expression = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i
  const change = fc.tuple(fc.nat(35), fc.constantFrom(...'0789abcgGFB-:`@/é'))
  fc.assert(
    fc.property(anyTime, fc.array(change, { maxLength: 3 }), (ms, changes) => {
      const letters = [...uuidAt(ms)]
      for (const [place, letter] of changes) letters[place] = letter
      const id = letters.join('')
      const timeMs = expression.test(id) ? Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16) : -1
      expect(idTimeMs(id)).toBe(timeMs >= from2020 && timeMs < to2100 ? timeMs : undefined)
    }),
  )
})

describe('a shard is a function of the identity alone, so all copies lie in one (invariant 1)', () => {
  test('ids of one ten-second slice share a shard, which closes when the slice ends', () => {
    fc.assert(
      fc.property(idAt, fc.integer({ min: 0, max: SHARD_SLICE_MS - 1 }), ({ ms, id }, offset) => {
        const slice = Math.floor(ms / SHARD_SLICE_MS)
        const shard = shardOf(identity(id))
        expect(shardOf(identity(uuidAt(Math.min(slice * SHARD_SLICE_MS + offset, to2100 - 1))))).toBe(shard)
        expect(shardClosesAtMs(shard)).toBe((slice + 1) * SHARD_SLICE_MS)
        expect(shard).toBeLessThan(FIRST_OPAQUE_SHARD)
        expect(Number.isSafeInteger(shard)).toBe(true)
      }),
    )
  })

  test('later slices have larger shards: shards sort by time', () => {
    fc.assert(
      fc.property(anyTime, anyTime, (a, b) => {
        const [sliceA, sliceB] = [Math.floor(a / SHARD_SLICE_MS), Math.floor(b / SHARD_SLICE_MS)]
        const difference = shardOf(identity(uuidAt(a))) - shardOf(identity(ulidAt(b)))
        expect(Math.sign(difference)).toBe(Math.sign(sliceA - sliceB))
      }),
    )
  })

  test('an opaque id has a shard that never closes, and keeps it', () => {
    fc.assert(
      fc.property(fc.nat(), anyText, anyText, (tenant, source, text) => {
        const opaque = { tenant, source, id: `-${text}` }
        const shard = shardOf(opaque)
        expect(shard).toBeGreaterThanOrEqual(FIRST_OPAQUE_SHARD)
        expect(shardClosesAtMs(shard)).toBeUndefined()
        expect(shardOf({ ...opaque })).toBe(shard)
      }),
    )
  })

  test('shards and partitions are stable for ever: these are written in stored data', () => {
    const opaque = identity('row-0', { tenant: 7, source: 'demo' })
    expect(shardOf(opaque) - FIRST_OPAQUE_SHARD).toBe(OPAQUE_ROW_0.shard)
    expect(partitionOf(opaque, 4)).toBe(OPAQUE_ROW_0.partition)
    expect(shardOf(identity('0198f4e2-7c3e-7b1a-9d55-0d3a6a6f1c11'))).toBe(Math.floor(0x0198f4e27c3e / 10_000) * 4_096)
  })
})
/** SHA-256 of "7\ndemo\nrow-0", first four bytes, modulo 1,024, with sha256sum; FNV-1a of it, finalized, modulo 4. */
const OPAQUE_ROW_0 = { shard: 1_010, partition: 1 }

describe('a partition', () => {
  test('is the same for all copies of an identity and always one of those there are', () => {
    fc.assert(
      fc.property(fc.nat(), anyText, anyText, fc.integer({ min: 1, max: 64 }), (tenant, source, id, partitions) => {
        const partition = partitionOf({ tenant, source, id }, partitions)
        expect(partition).toBe(partitionOf({ id, source, tenant }, partitions))
        expect(partition).toBeGreaterThanOrEqual(0)
        expect(partition).toBeLessThan(partitions)
      }),
    )
  })

  test('is the published hash of the key, whatever was asked for before, beyond ASCII too', () => {
    const some = fc.array(
      fc.tuple(fc.constantFrom(1, 2), fc.constantFrom('a', 'b', 'é'), fc.oneof(anyText, fc.string({ minLength: 300 }))),
      { maxLength: 8 },
    )
    const texts = fc.oneof(some, fc.array(fc.tuple(fc.nat(), anyText, fc.string({ unit: 'grapheme' }))))
    fc.assert(
      fc.property(texts, (identities) => {
        for (const [tenant, source, id] of identities) {
          const one = { tenant, source, id }
          expect(partitionOf(one, 2 ** 32)).toBe(publishedHash(identityKey(one)))
          expect(locate(one, 2 ** 32)).toMatchObject({ key: identityKey(one), partition: partitionOf(one, 2 ** 32) })
        }
      }),
    )
  })

  test('one tenant is spread over all partitions, ids of one moment too', () => {
    const counts = [0, 0, 0, 0]
    for (let n = 0; n < 4_000; n++) {
      const partition = partitionOf(identity(n % 2 === 0 ? `row-${n}` : uuidAt(from2020)), 4)
      counts[partition] = (counts[partition] ?? 0) + 1
    }
    for (const count of counts) expect(count).toBeGreaterThan(800)
  })

  test('of opaque shards, a thousand are in use', () => {
    const shards = new Set(Array.from({ length: 20_000 }, (_, n) => shardOf(identity(`row-${n}`))))
    expect(shards.size).toBe(1_024)
  })
})

/** FNV-1a and MurmurHash3's finalizer as they are published: records that are in the log lie where it says. */
function publishedHash(key: string): number {
  const utf8 = Buffer.from(key)
  let hash = 0x811c9dc5
  for (const byte of utf8.length === key.length ? utf8 : Buffer.from(utf8.toString('hex')))
    hash = Math.imul(hash ^ byte, 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

test('different identities have different keys, whatever their parts hold', () => {
  fc.assert(
    fc.property(fc.nat(9), anyText, anyText, fc.nat(9), anyText, anyText, (t1, s1, i1, t2, s2, i2) => {
      const same = t1 === t2 && s1 === s2 && i1 === i2
      const keys = [identityKey({ tenant: t1, source: s1, id: i1 }), identityKey({ tenant: t2, source: s2, id: i2 })]
      expect(keys[0] === keys[1]).toBe(same)
    }),
  )
  expect(identityKey(identity('b', { source: 'a' }))).not.toBe(identityKey(identity('', { source: 'ab' })))
})
