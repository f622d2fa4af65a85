import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { createClickHouseEventReader } from '../../../invoicer/billing/explain/events.clickhouse.ts'
import { createClickHouseUsageReader } from '../../../invoicer/billing/usage.clickhouse.ts'
import { cloudEvent, LLM_SCHEMA, openMetering } from '../../support/metering.ts'
import { buildDoors } from './doors.ts'
import { startSealer } from './world.ts'

type Method = Parameters<ReturnType<typeof buildDoors>['call']>[1]
export type Invoicing = Awaited<ReturnType<typeof openInvoicing>>

/** One tenant with everything between its events and its invoices, on real stores, used through the doors; `slug` names it. */
export async function openInvoicing(slug: string) {
  const metering = await openMetering()
  const tenant = await metering.tenant(slug)
  const { clock, store, database } = metering
  const usage = createClickHouseUsageReader(store)
  const events = createClickHouseEventReader(store)
  const doors = buildDoors(database, { usage, events, now: () => clock.nowMs })
  const sealer = startSealer(database, tenant.id, usage)
  const send = async (method: Method, url: string, body: object, status: number) => {
    const answer = await doors.call(tenant.id, method, url, body)
    expect([answer.status, answer.body]).toEqual([status, answer.body])
    return answer.body
  }
  const get = async (url: string) => (await doors.call(tenant.id, 'GET', url)).body
  let sent = 0
  return {
    ...{ metering, tenant, clock, send, get, app: doors.app },
    call: (method: Method, url: string, body?: object) => doors.call(tenant.id, method, url, body),
    /** The sum of what `acme` uses, which is a customer from then on. */
    begin: async (customer: object = {}) => {
      await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
      await tenant.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' })
      await send('POST', '/customers', { external_key: 'acme', currency: 'USD', subjects: ['acme'], ...customer }, 201)
    },
    /** By default now; stored when this answers. */
    use: async (tokens: number, time?: string) => {
      clock.nowMs += 1_000
      sent += 1
      const at = time ?? new Date(clock.nowMs).toISOString()
      const event = cloudEvent(`use-${sent}`, { tokens }, { subject: 'acme', time: at })
      expect((await tenant.send(JSON.stringify(event))).status).toBe(202)
      await metering.settled()
    },
    /** A run to its end; all invoices, the first first. */
    run: async <Billed>(dryRun = false): Promise<Billed[]> => {
      clock.nowMs += 1_000
      const { id } = await send('POST', '/billing-runs', { dry_run: dryRun }, 202)
      for (;;) {
        const { state, error } = await get(`/billing-runs/${id}`)
        expect(error).toBe(null)
        if (state === 'completed') return (await get('/invoices')).invoices as Billed[]
        await sleep(20)
      }
    },
    close: async () => {
      await sealer.stop()
      await doors.invoicer.stop()
      await doors.app.close()
      await metering.close()
    },
  }
}
