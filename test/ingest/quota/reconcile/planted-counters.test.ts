import { afterAll, beforeAll } from 'vitest'
import { counterId } from '../../../../ingest/quota/quota-store.ts'
import type { ClickHouseStore } from '../../../../schemas/clickhouse/store.ts'
import { openUsageStore } from '../../../support/embedded-stores.ts'
import { describePlantedCounters } from './planted-counters.ts'

let usage: ClickHouseStore
beforeAll(async () => {
  usage = await openUsageStore()
})
afterAll(() => usage?.close())

describePlantedCounters(
  'lmdb',
  () => usage,
  async ({ quota, lmdb }, now) => ({
    quota,
    plant: async (counter, micro) => void (await lmdb.quota.put(`used\n${counterId(counter)}`, `${micro} ${now()}`)),
    flush: () => lmdb.quota.clearAsync(),
    close: async () => undefined,
  }),
)
