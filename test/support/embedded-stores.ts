import { join } from 'node:path'
import { createLmdbLogReader } from '../../aggregator/pump/event-log.lmdb.ts'
import type { EventLogReader } from '../../aggregator/pump/event-log.ts'
import { createLmdbLogWriter } from '../../ingest/append/event-log.lmdb.ts'
import type { EventLogWriter } from '../../ingest/append/event-log.ts'
import { createLmdbQuotaStore } from '../../ingest/quota/quota-store.lmdb.ts'
import type { QuotaStore } from '../../ingest/quota/quota-store.ts'
import { openChdb } from '../../ops/embedded/chdb.clickhouse.ts'
import { type EmbeddedLmdb, openLmdb } from '../../ops/embedded/lmdb.ts'
import { migrateClickHouse } from '../../ops/migrate/migrate.clickhouse.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { tempFolder } from './temp-folder.ts'

export const PARTITIONS = 3

export type EmbeddedLog = {
  lmdb: EmbeddedLmdb
  writer: EventLogWriter
  reader: EventLogReader
  quota: QuotaStore
  close(): Promise<void>
}

/** Log and quota counters in LMDB, in a folder of their own or in one that is left as it is. */
export async function openEmbeddedLog(now: () => number, folder?: string): Promise<EmbeddedLog> {
  const own = folder === undefined ? tempFolder() : undefined
  const path = folder ?? own!.path
  const lmdb = await openLmdb(join(path, 'log'), join(path, 'quota'))
  const quota = createLmdbQuotaStore(lmdb.quota, now)
  return {
    lmdb,
    writer: createLmdbLogWriter(lmdb.log, lmdb.logId, PARTITIONS, now),
    reader: createLmdbLogReader(lmdb.log, lmdb.logId, PARTITIONS),
    quota,
    close: async () => {
      await quota.close()
      await lmdb.close()
      own?.remove()
    },
  }
}

/** ClickHouse with its tables. chDB binds one folder a process: at most one at a time in a test file. */
export async function openUsageStore(): Promise<ClickHouseStore> {
  const folder = tempFolder()
  const store = await openChdb(join(folder.path, 'clickhouse'), 3)
  await migrateClickHouse(store)
  return {
    ...store,
    close: async () => {
      await store.close()
      folder.remove()
    },
  }
}
