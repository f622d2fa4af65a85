import { afterAll, beforeAll, expect, test } from 'vitest'
import { createBatcher, DEFAULT_BATCHER_LIMITS } from '../../../ingest/append/batcher.ts'
import { revertBackfill } from '../../../ingest/backfills/change-state.ts'
import { type RevertDeps, runRevert } from '../../../ingest/backfills/run-revert.ts'
import type { Caller } from '../../../schemas/http/door.ts'
import { cloudEvent, LLM_SCHEMA, type Metering, openMetering, type Tenant } from '../../support/metering.ts'
import { askPostgresAt } from '../../support/product.ts'

let metering: Metering
let tenant: Tenant

beforeAll(async () => {
  metering = await openMetering()
  tenant = await metering.tenant('two')
  await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
})
afterAll(() => metering.close())

/** A point in a process at which it waits until the test lets it go on. */
function stopAt() {
  let [reach, leave] = [() => {}, () => {}]
  const reached = new Promise<void>((resolve) => {
    reach = resolve
  })
  const left = new Promise<void>((resolve) => {
    leave = resolve
  })
  const wait = async () => {
    reach()
    await left
  }
  return { reached, wait, goOn: () => leave() }
}

/** An ingest process's revert, with something of its own. */
function processDeps(change: Partial<RevertDeps>): RevertDeps {
  const { database, log, store } = metering
  const batcher = createBatcher(log.writer, DEFAULT_BATCHER_LIMITS)
  const now = () => metering.clock.nowMs
  return { pool: database.pool, usage: store, writer: log.writer, batcher, now, stopping: () => false, ...change }
}

/**
 * ops/decisions/0011: a page took longer than its claim, another process went on, and the first one, awake again, wrote
 * its own count over the other's and let go of the other's claim.
 */
test('a process that wakes after another took its revert up notes nothing more', async () => {
  const open = await tenant.call('POST', '/backfills', { name: 'march', source: 'backfill:march' })
  const id = String(open.body.id)
  const events = Array.from({ length: 4_100 }, (_, n) => cloudEvent(`row-${n}`, undefined, { source: undefined }))
  expect(await tenant.call('POST', `/backfills/${id}/events`, events)).toMatchObject({ status: 202 })
  await metering.settled()
  // By the operation, not by the door: no other process than the test's two takes it up.
  const caller: Caller = {
    tenantId: tenant.id,
    tenantSlug: 'two',
    keyId: 'key',
    operator: false,
    scope: 'everything',
    permissions: new Set(),
  }
  await revertBackfill({ pool: metering.database.pool, now: () => metering.clock.nowMs }, caller, id)
  const waiting = { tenantId: tenant.id, backfillId: id }

  const slowPage = stopAt()
  const { batcher } = processDeps({})
  let awake = false
  const slow = runRevert(
    processDeps({
      batcher: {
        ...batcher,
        add: async (voids) => {
          await batcher.add(voids)
          await slowPage.wait()
        },
      },
      stopping: () => awake,
    }),
    waiting,
  )
  await slowPage.reached
  const ended = `UPDATE backfills SET revert_claimed_until = now() - interval '1 second'`
  await askPostgresAt(metering.database.ownerUrl, ended)

  const lastLook = stopAt()
  let pages = 0
  const { store } = metering
  const quick = runRevert(
    processDeps({
      usage: {
        ...store,
        query: async (sql, params) => {
          // Three pages, and the look that finds no fourth one.
          if (sql.includes('NOT startsWith') && ++pages === 4) await lastLook.wait()
          return store.query(sql, params)
        },
      },
    }),
    waiting,
  )
  await lastLook.reached
  awake = true
  slowPage.goOn()
  await slow
  const claimed = 'SELECT voided, revert_claimed_until IS NOT NULL AS claimed FROM backfills'
  expect(await askPostgresAt(metering.database.ownerUrl, claimed)).toEqual([{ voided: '4100', claimed: true }])
  lastLook.goOn()
  await quick
  expect((await tenant.call('GET', `/backfills/${id}`)).body).toMatchObject({
    state: 'reverted',
    counts: { voided: 4_100 },
  })
}, 120_000)
