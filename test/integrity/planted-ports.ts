import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { EventLogReader } from '../../aggregator/pump/event-log.ts'
import type { Ports } from '../../ops/cli/ports.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { countCopies, readingEveryRun } from './planted-views.ts'
import type { Plant } from './steps.ts'

/** Between the acknowledgement and the write. */
const LATE_MS = 400

/** The ports with one bug in them. The product is the same; the tests that use this must find the bug. */
export function plantedPorts(ports: Ports, plant: Plant | undefined): Ports {
  const { writer, reader, quota, store, reads, gateway } = ports
  switch (plant) {
    case undefined:
      return ports
    case 'acknowledge-early':
      return {
        ...ports,
        writer: writer && {
          ...writer,
          append: async (records) => {
            void sleep(LATE_MS).then(() => writer.append(records))
          },
        },
      }
    case 'progress-first':
      return {
        ...ports,
        store: {
          ...store,
          insertAvro: (file, statements, params) => store.insertAvro(file, statements.toReversed(), params),
        },
      }
    case 'count-copies':
      return { ...ports, store: alteredStore(store, countCopies) }
    case 'draw-again':
      return {
        ...ports,
        quota: quota && {
          ...quota,
          draw: (items, nowMs, enforce) =>
            quota.draw(
              items.map((item) => ({ ...item, identity: randomUUID() })),
              nowMs,
              enforce,
            ),
        },
      }
    case 'resume-at-end':
      return { ...ports, reader: reader && resumingAtEnd(reader) }
    case 'heads-first':
      return { ...ports, store: headsFirst(store) }
    case 'every-run':
      return { ...ports, reads: readingEveryRun(reads) }
    case 'new-payment-keys':
      return {
        ...ports,
        gateway: { ...gateway, charge: (request) => gateway.charge({ ...request, idempotencyKey: randomUUID() }) },
      }
  }
}

/** At each new assignment it goes on where the log ends, and not where the store does. */
function resumingAtEnd(reader: EventLogReader): EventLogReader {
  let generation = -1
  let from: number[] = []
  return {
    ...reader,
    read: async (nextOffsets, maxBytes) => {
      if (reader.assignment().generation !== generation) {
        generation = reader.assignment().generation
        from = await reader.ends()
      }
      const later = nextOffsets.map((next, partition) =>
        next === undefined ? undefined : Math.max(next, from[partition] ?? 0),
      )
      return reader.read(later, maxBytes)
    },
  }
}

const FROM_ROLLUP = 'FROM usage_rollup\n'
const FROM_EVENTS = `FROM (
  SELECT {tenant:UInt32} AS tenant, meter, shard, events, operations, last_key, {run:UInt64} AS run
  FROM usage_rows(tenant = {tenant:UInt32}, meter = '', as_of_ms = 4102444800000, shards = {shards:Array(UInt64)}))
`

/** A rebuild's heads are written before the rows that they make readable, with a pause in which somebody may read. */
export function headsFirst(store: ClickHouseStore, pauseMs = 0): ClickHouseStore {
  let writeRows = async () => {}
  return {
    ...store,
    command: async (sql, params) => {
      if (sql.includes('INSERT INTO usage_rollup')) {
        writeRows = () => store.command(sql, params)
        return
      }
      if (!sql.includes('INSERT INTO shard_heads')) return store.command(sql, params)
      if (!sql.includes(FROM_ROLLUP)) throw new Error('The heads no longer come from the rollup: plant the bug anew')
      await store.command(sql.replace(FROM_ROLLUP, FROM_EVENTS), params)
      if (pauseMs > 0) await sleep(pauseMs)
      await writeRows()
    },
  }
}

/** A store that is altered before its first use. */
function alteredStore(store: ClickHouseStore, alter: (store: ClickHouseStore) => Promise<void>): ClickHouseStore {
  const altered = alter(store)
  return {
    ...store,
    query: async (sql, params) => altered.then(() => store.query(sql, params)),
    command: async (sql, params) => altered.then(() => store.command(sql, params)),
  }
}
