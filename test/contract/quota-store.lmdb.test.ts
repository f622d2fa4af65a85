import { createLmdbQuotaStore } from '../../ingest/quota/quota-store.lmdb.ts'
import { counterId, type QuotaStore } from '../../ingest/quota/quota-store.ts'
import { openEmbeddedLog } from '../support/embedded-stores.ts'
import { describeCounters } from './quota-store.counters.ts'
import { describeHoldBounds } from './quota-store.hold-bounds.ts'
import { describeHolds, type OpenHoldStore } from './quota-store.holds.ts'
import { describeRolling } from './quota-store.rolling.ts'
import { describeQuotaStore } from './quota-store.ts'

async function openQuota(now: () => number) {
  const { quota, close } = await openEmbeddedLog(now)
  return { store: quota, close }
}

describeQuotaStore('lmdb', openQuota)
describeRolling('lmdb', openQuota)

async function openHolds(now: () => number): Promise<OpenHoldStore> {
  const { quota, lmdb, close } = await openEmbeddedLog(now)
  const others: QuotaStore[] = []
  return {
    store: quota,
    another: async () => {
      const other = createLmdbQuotaStore(lmdb.quota, now)
      others.push(other)
      return other
    },
    lose: async (counter) => void (await lmdb.quota.remove(`used\n${counterId(counter)}`)),
    spoil: async (counter, text) => void (await lmdb.quota.put(`used\n${counterId(counter)}`, `${text} ${now()}`)),
    flush: () => lmdb.quota.clearAsync(),
    crowd: async (tenant, holds) => void (await lmdb.quota.put(`living\n${tenant}`, String(holds))),
    sizeOf: async (tenant, id) => lmdb.quota.get(`hold\n${tenant}\n${id}`)?.length ?? 0,
    close: async () => {
      await Promise.all(others.map((other) => other.close()))
      await close()
    },
  }
}

describeHolds('lmdb', openHolds)
describeHoldBounds('lmdb', openHolds)
describeCounters('lmdb', openHolds)
