import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Progress } from '../../invoicer/billing/run/steps.ts'
import type { Gateway } from '../../invoicer/collection/payments/gateway.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import type { AllPorts } from './all-ports.ts'
import type { PortStep, Step } from './steps.ts'

type Reach = (step: Step) => void

/** The same ports, but the process dies at the armed step. `progressOf` is what the product would use itself. */
export function killingPorts(
  ports: AllPorts,
  reach: Reach,
  progressOf: (tenantId: TenantId, runId: string) => Progress,
): AllPorts {
  const { writer, reader, quota, gateway } = ports
  return {
    ...ports,
    writer: {
      ...writer,
      append: async (records) => {
        reach('append-begins')
        await writer.append(records)
        reach('append-durable')
      },
    },
    reader: {
      ...reader,
      read: async (nextOffsets, maxBytes) => {
        const rows = await reader.read(nextOffsets, maxBytes)
        if (rows.length > 0) reach('records-read')
        return rows
      },
    },
    quota: {
      ...quota,
      draw: async (items, nowMs, enforce) => {
        const answer = await quota.draw(items, nowMs, enforce)
        if ('decisions' in answer) reach('quota-drawn')
        return answer
      },
    },
    store: killingStore(ports.store, reach),
    gateway: {
      ...gateway,
      charge: async (request) => {
        reach('charge-begins')
        const result = await gateway.charge(request)
        reach('charge-done')
        return result
      },
    },
    progressOf: (tenantId, runId) => {
      const tell = progressOf(tenantId, runId)
      return async (step) => {
        await tell(step)
        reach(`run:${step}`)
      }
    },
  }
}

const AFTER_STATEMENT: PortStep[] = ['events-inserted', 'marks-inserted', 'ranges-inserted']

/** The aggregator's three statements one by one; the product's own insert runs them in one call, one after the other. */
function killingStore(store: ClickHouseStore, reach: Reach): ClickHouseStore {
  return {
    ...store,
    insertAvro: async (file, statements, params) => {
      for (const [index, statement] of statements.entries()) {
        await store.insertAvro(file, [statement], params)
        const step = AFTER_STATEMENT[index]
        if (step) reach(step)
      }
    },
    command: async (sql, params) => {
      await store.command(sql, params)
      if (sql.includes('INSERT INTO usage_rollup')) reach('rollup-written')
      if (sql.includes('INSERT INTO shard_heads')) reach('heads-written')
    },
  }
}

export type Charge = { idempotencyKey: string; invoiceId: string; amountMinor: string }

/** A gateway that keeps a book of what it was asked, as a real one would: it outlives the process. */
export function bookingGateway(gateway: Gateway, control: string): Gateway {
  return {
    ...gateway,
    charge: async (request) => {
      const { idempotencyKey, invoiceId, amountMinor } = request
      const charge: Charge = { idempotencyKey, invoiceId, amountMinor: String(amountMinor) }
      appendFileSync(join(control, 'charges.ndjson'), `${JSON.stringify(charge)}\n`)
      return gateway.charge(request)
    },
  }
}
