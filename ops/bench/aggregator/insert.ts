import { randomUUID } from 'node:crypto'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { migrateClickHouse } from '../../migrate/migrate.clickhouse.ts'
import { jsThreadCpuUs, ownCpuUs, treeGauge } from '../cpu.ts'
import { encodedEvents } from '../events.ts'
import type { Figure } from '../figure.ts'
import { interleave, sample } from '../measure.ts'
import { avroFileOfEvents } from './avro-file.ts'
import { createRecords, PARTITIONS } from './log-rows.ts'
import { openBenchStores, PLAIN_TABLE } from './stores.clickhouse.ts'

const TENANT = 900_001
const JS_THREAD = 'JavaScript thread'

/** Log records into ClickHouse as the pump stores them: events, marks and ranges. */
export const insert: Figure = async (input) => {
  const { mode, sizes, servers } = input
  const { store, floor, insertBare, close } = await openBenchStores(input)
  const server = treeGauge(servers?.pids.clickhouse)
  const gauges = {
    [JS_THREAD]: jsThreadCpuUs,
    [servers ? 'process' : 'process with chDB']: ownCpuUs,
    ...(server ? { 'ClickHouse server': server } : {}),
  }
  const subject = { mode, figure: 'aggregator, insert', floor, unit: 'event' } as const
  const targets = { [JS_THREAD]: { cpuUsAtMost: 0.25 } }
  const log = `bench-${randomUUID()}`
  const records = createRecords()
  try {
    await migrateClickHouse(store)
    await store.command(PLAIN_TABLE)
    return await interleave({ ...subject, targets }, sizes, async () => {
      const parts = Array.from({ length: sizes.inserts }, () => {
        const events = encodedEvents(sizes.eventsPerInsert, TENANT, PARTITIONS)
        return { rows: records.next(events), file: avroFileOfEvents(events.map((event) => event.encoded)) }
      })
      const count = sizes.inserts * sizes.eventsPerInsert
      return {
        product: () =>
          sample(gauges, count, async () => {
            for (const { rows } of parts) await insertRecords(store, log, rows)
          }),
        floor: () =>
          sample(gauges, count, async () => {
            for (const { file } of parts) await insertBare(file)
          }),
      }
    })
  } finally {
    await close()
  }
}
