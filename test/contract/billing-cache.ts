import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { BillingCache } from '../../ingest/billing-cache/billing-cache.ts'

/** A cache on its own empty data. `now` is the clock of what takes no time of its own. */
export type OpenBillingCache = { cache: BillingCache; close(): Promise<void> }

const HOUR = 3_600_000

/** What every adapter of the billing cache promises (HC-5). */
export function describeBillingCache(name: string, open: (now: () => number) => Promise<OpenBillingCache>): void {
  describe(`billing cache: ${name}`, () => {
    let opened: OpenBillingCache
    let cache: BillingCache
    let nowMs: number

    beforeEach(async () => {
      nowMs = Date.UTC(2026, 10, 20, 12)
      opened = await open(() => nowMs)
      cache = opened.cache
    })
    afterEach(() => opened.close())

    test('a text is found again as it was put, whatever is in it', async () => {
      const texts = ['{"a":1}', '', ' ', 'two words\nand a line', '√ü𝒳', 'x'.repeat(20_000)]
      for (const [index, text] of texts.entries()) await cache.put(1, `name-${index}`, text)
      const found = await Promise.all(texts.map((_, index) => cache.get(1, `name-${index}`)))
      expect(found).toEqual(texts)
    })

    test('whatever a name is called, it is that of one text of one tenant', async () => {
      const names = ['a', 'a:b', 'a\nb', '1\na', 'user:a', '{1}', 'ü', '𝒳'.repeat(256), ' ']
      for (const tenant of [1, 11]) for (const one of names) await cache.put(tenant, one, `${tenant} ${one}`)
      for (const tenant of [1, 11])
        for (const one of names) expect(await cache.get(tenant, one)).toBe(`${tenant} ${one}`)
      expect(await cache.get(2, 'a')).toBeUndefined()
      expect(await cache.get(1, 'b')).toBeUndefined()
    })

    test('the later text takes the place of the earlier', async () => {
      await cache.put(1, 'a', 'earlier')
      await cache.put(1, 'a', 'later')
      expect(await cache.get(1, 'a')).toBe('later')
    })

    test('it is there for 24 hours after it was put, and then it is not', async () => {
      await cache.put(1, 'a', 'text')
      nowMs += 23 * HOUR
      expect(await cache.get(1, 'a')).toBe('text')
      await cache.put(1, 'b', 'younger')
      nowMs += 2 * HOUR
      expect(await cache.get(1, 'a')).toBeUndefined()
      // Whoever puts something sweeps up, and only what has ended.
      await cache.put(1, 'c', 'youngest')
      expect([await cache.get(1, 'a'), await cache.get(1, 'b'), await cache.get(1, 'c')]).toEqual([
        undefined,
        'younger',
        'youngest',
      ])
    })
  })
}
