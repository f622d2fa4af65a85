import { createHash, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { generateKey, hashKey, parseKey } from '../../../ops/access/key.ts'

const bytes = (size: number) => fc.uint8Array({ minLength: size, maxLength: size })
const keys = fc.tuple(bytes(8), bytes(32)).map(([id, secret]) => generateKey((size) => (size === 8 ? id : secret)))

test('a generated key is read back, whatever the random bytes', () => {
  fc.assert(
    fc.property(keys, ({ key, publicId, sha256 }) => {
      expect(key).toMatch(/^tly_[0-9A-Za-z]{11}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}$/)
      expect(parseKey(key)).toEqual({ publicId })
      expect(sha256).toEqual(createHash('sha256').update(key).digest())
      expect(hashKey(key)).toEqual(sha256)
    }),
  )
})

test('one changed character is always noticed', () => {
  fc.assert(
    fc.property(keys, fc.nat(67), fc.constantFrom(...'0aZ9_ é'), ({ key }, at, other) => {
      fc.pre(key.charAt(at) !== other)
      expect(parseKey(key.slice(0, at) + other + key.slice(at + 1))).toBeUndefined()
    }),
    { numRuns: 2_000 },
  )
})

test('different secrets give different keys', () => {
  const made = new Set(Array.from({ length: 500 }, () => generateKey(randomBytes).key))
  expect(made.size).toBe(500)
})

test('other text is no key', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `tly_${text}`),
      ),
      (text) => {
        expect(parseKey(text)).toBeUndefined()
      },
    ),
  )
  const { key } = generateKey(randomBytes)
  for (const text of ['', `${key}\n`, ` ${key}`, `${key}0`, key.slice(0, -1), key.toUpperCase()])
    expect(parseKey(text)).toBeUndefined()
})
