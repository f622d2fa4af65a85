import { expect, test } from 'vitest'
import { createLmdbBillingCache } from '../../ingest/billing-cache/billing-cache.lmdb.ts'
import { openEmbeddedLog } from '../support/embedded-stores.ts'
import { describeBillingCache } from './billing-cache.ts'

describeBillingCache('lmdb', async (now) => {
  const { lmdb, close } = await openEmbeddedLog(now)
  return { cache: createLmdbBillingCache(lmdb.quota, now), close }
})

test('what has ended leaves the disk with a later put, and counters beside it stay', async () => {
  let nowMs = Date.UTC(2026, 10, 20)
  const { lmdb, close } = await openEmbeddedLog(() => nowMs)
  const cache = createLmdbBillingCache(lmdb.quota, () => nowMs)
  await lmdb.quota.put('used\nother', 'as it is')
  for (let n = 0; n < 10; n++) await cache.put(n, 'a', 'text')
  nowMs += 25 * 3_600_000
  await cache.put(99, 'a', 'text')
  const keys = [...lmdb.quota.getKeys()]
  expect(keys).toEqual(['billing_cache\n99\na', 'used\nother'])
  await close()
})
