import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { AllPorts } from './all-ports.ts'
import { countCopies } from './planted-views.ts'
import type { Plant } from './steps.ts'

/** Between the acknowledgement and the write. */
const LATE_MS = 400

/** The ports with one bug in them. The product is the same; the tests that use this must find the bug. */
export function plantedPorts(ports: AllPorts, plant: Plant | undefined): AllPorts {
  const { writer, quota, store, gateway } = ports
  switch (plant) {
    case undefined:
      return ports
    case 'acknowledge-early':
      return {
        ...ports,
        writer: {
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
        quota: {
          ...quota,
          draw: (items, nowMs, enforce) =>
            quota.draw(
              items.map((item) => ({ ...item, identity: randomUUID() })),
              nowMs,
              enforce,
            ),
        },
      }
    case 'new-payment-keys':
      return {
        ...ports,
        gateway: { ...gateway, charge: (request) => gateway.charge({ ...request, idempotencyKey: randomUUID() }) },
      }
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
