import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { EventLogReader } from '../../aggregator/pump/event-log.ts'
import type { EventLogWriter } from '../../ingest/append/event-log.ts'
import type { QuotaStore } from '../../ingest/quota/quota-store.ts'
import type { Progress } from '../../invoicer/billing/run/steps.ts'
import type { Gateway } from '../../invoicer/collection/payments/gateway.ts'
import type { Ports } from '../../ops/cli/ports.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import type { PortStep, Reach, StepWatch } from './steps.ts'

/**
 * The same ports, but the process dies at the armed step. Those of roles that do not run here stay away. `progressOf`
 * is what the product would use itself.
 */
export function killingPorts(
  ports: Ports,
  { reach, pause, armed }: StepWatch,
  progressOf: (tenantId: TenantId, runId: string) => Progress,
): Ports {
  const { writer, reader, quota, store, gateway } = ports
  return {
    ...ports,
    writer: writer && killingWriter(writer, reach),
    reader: reader && killingReader(reader, reach),
    quota: quota && killingQuota(quota, reach),
    store: killingStore(store, { reach, armed }),
    gateway: killingGateway(gateway, reach),
    progressOf: (tenantId, runId) => {
      const tell = progressOf(tenantId, runId)
      return async (step) => {
        await tell(step)
        reach(`run:${step}`)
        await pause(`run:${step}`)
      }
    },
  }
}

function killingWriter(writer: EventLogWriter, reach: Reach): EventLogWriter {
  return {
    ...writer,
    append: async (records) => {
      reach('append-begins')
      await writer.append(records)
      reach('append-durable')
    },
  }
}

function killingReader(reader: EventLogReader, reach: Reach): EventLogReader {
  return {
    ...reader,
    read: async (nextOffsets, maxBytes) => {
      const rows = await reader.read(nextOffsets, maxBytes)
      if (rows.length > 0) reach('records-read')
      return rows
    },
  }
}

function killingQuota(quota: QuotaStore, reach: Reach): QuotaStore {
  return {
    ...quota,
    draw: async (items, nowMs, enforce) => {
      const answer = await quota.draw(items, nowMs, enforce)
      if ('decisions' in answer) reach('quota-drawn')
      return answer
    },
  }
}

function killingGateway(gateway: Gateway, reach: Reach): Gateway {
  return {
    ...gateway,
    charge: async (request) => {
      reach('charge-begins')
      const result = await gateway.charge(request)
      reach('charge-done')
      return result
    },
  }
}

const LOOK_EVERY_MS = 20

/** What a statement of the aggregator's insert has filled when it is done. */
const FILLED: [table: string, step: PortStep][] = [
  ['events', 'events-inserted'],
  ['shard_changes', 'marks-inserted'],
  ['ingest_ranges', 'ranges-inserted'],
]

/** The aggregator's three statements one by one; the product's own insert runs them in one call, one after the other. */
function killingStore(store: ClickHouseStore, watch: Pick<StepWatch, 'reach' | 'armed'>): ClickHouseStore {
  const { reach } = watch
  return {
    ...store,
    insertAvro: async (file, statements, params) => {
      for (const statement of statements) {
        let sql = ''
        const noted = (source: string) => {
          sql = statement(source)
          return sql
        }
        if (watch.armed('insert-under-way')) void dieInInsert(store, reach)
        const slow = watch.armed('insert-under-way') ? (source: string) => noted(delayed(source)) : noted
        await store.insertAvro(file, [slow], params)
        for (const [table, step] of FILLED) if (new RegExp(`INSERT INTO ${table}\\b`).test(sql)) reach(step)
      }
    },
    command: async (sql, params) => {
      await store.command(sql, params)
      if (sql.includes('INSERT INTO usage_rollup')) reach('rollup-written', params?.tenant)
      if (sql.includes('INSERT INTO shard_heads')) reach('heads-written', params?.tenant)
    },
  }
}

/** The same rows, after a while: long enough for the insert to be seen under way. */
function delayed(source: string): string {
  return `(SELECT * FROM ${source} WHERE sleep(2) = 0)`
}

/** Asks the server itself, and dies when it says that it works on the insert. */
async function dieInInsert(store: ClickHouseStore, reach: Reach): Promise<void> {
  const sql = `SELECT count() > 0 AS works FROM system.processes WHERE query LIKE '%INSERT INTO events%sleep(2) = 0%'`
  for (;;) {
    const [row] = await store.query<{ works: number }>(`${sql} AND query NOT LIKE '%system.processes%'`)
    if (row?.works) reach('insert-under-way')
    await sleep(LOOK_EVERY_MS)
  }
}

export type Charge = { idempotencyKey: string; invoiceId: string; amountMinor: string }

/** A gateway that keeps a book of what it was asked, as a real one would: it outlives the process. */
export function bookingGateway(gateway: Gateway, book: string): Gateway {
  return {
    ...gateway,
    charge: async (request) => {
      const { idempotencyKey, invoiceId, amountMinor } = request
      const charge: Charge = { idempotencyKey, invoiceId, amountMinor: String(amountMinor) }
      appendFileSync(book, `${JSON.stringify(charge)}\n`)
      return gateway.charge(request)
    },
  }
}
