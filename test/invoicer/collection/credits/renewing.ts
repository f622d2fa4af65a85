import { expect } from 'vitest'
import { type CreateSchedule, createSchedule } from '../../../../invoicer/collection/credits/create-schedule.ts'
import { type GrantCredit, grantCredit } from '../../../../invoicer/collection/credits/grant-credit.ts'
import { readCredit, readCreditUses } from '../../../../invoicer/collection/credits/read-credit.ts'
import { renewSome } from '../../../../invoicer/collection/credits/renew-some.ts'
import type { Rollover } from '../../../../invoicer/collection/credits/terms.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import type { TestDatabase } from '../../../support/test-database.ts'
import { createWorld, NOVEMBER, type World } from '../../support/world.ts'

export const HOUR_MS = 3_600_000
export const DAY_MS = 24 * HOUR_MS
export const PAGE = { after: null, limit: 999 }

/** A customer `a` at a cent a token, on 1 November. */
export async function open(database: TestDatabase, slug: string, timezone = 'UTC'): Promise<World> {
  const world = await createWorld(database, slug)
  const price = { model: 'per_unit', unit_amount: '0.01' } as const
  await world.plan({
    charges: [
      { key: 'context', name: 'Context', meter: 'context_tokens', price },
      { key: 'generated', name: 'Generated', meter: 'generated_tokens', price },
    ],
  })
  await world.subscribe('a', { endMs: null, timezone })
  world.clock.nowMs = NOVEMBER
  return world
}

const monthly: CreateSchedule = {
  ...{ externalKey: 'monthly', customer: 'a', name: null, amount: '100.00', priority: 5, scope: null, rollover: null },
  ...{ cadence: { interval: 'month', every: 1 }, startMs: null, untilMs: null, grants: null },
  ...{ expires: 'next_grant', expiresAfterDays: null },
}
export const rollover = (change: Partial<Rollover> = {}): Rollover => {
  return { max_amount: null, max_percent: null, expires_after_days: null, times: 1, ...change }
}
export const schedule = (world: World, change: Partial<CreateSchedule> = {}) =>
  world.transact(world.tenantId, (tx) => createSchedule(tx, { ...monthly, ...change }, world))
export const give = (world: World, externalKey: string, change: Partial<GrantCredit> = {}) => {
  const grant = { externalKey, customer: 'a', name: null, amount: '39.00', priority: 0, expiresAtMs: null }
  return world.transact(world.tenantId, (tx) => grantCredit(tx, { ...grant, ...change }, world))
}
export const renew = async (world: World, atMs = world.clock.nowMs, transact = world.transact) => {
  world.clock.nowMs = atMs
  const failed: string[] = []
  const renewed = await renewSome({ ...world, transact }, world.tenantId, atMs, (customerId) => failed.push(customerId))
  if (failed.length > 0) throw new Error(`of ${failed.length} customers it failed`)
  return renewed
}
export const day = (ms: number) => new Date(ms).toISOString().slice(0, 10)

/** Grants as one reads them, in the order in which they begin; of each amount = remaining + the sum of its uses. */
export async function grants(world: World): Promise<string[]> {
  return world.transact(world.tenantId, async (tx) => {
    const { grants: all } = await readCredit(tx, 'a', PAGE, world.clock.nowMs)
    const { uses } = await readCreditUses(tx, 'a', PAGE)
    for (const { id, amountMinor, remainingMinor } of all) {
      const used = uses.filter(({ grantId }) => grantId === id).reduce((sum, use) => sum + use.amountMinor, 0n)
      expect(remainingMinor + used).toBe(amountMinor)
    }
    return all
      .toSorted((a, b) => a.createdAtMs - b.createdAtMs)
      .map(({ scheduleIndex, rolledFrom, amountMinor, remainingMinor, createdAtMs, expiresAtMs }) => {
        const what = rolledFrom === null ? `${scheduleIndex}` : 'rolled'
        const span = `${day(createdAtMs)}–${expiresAtMs === null ? '' : day(expiresAtMs)}`
        return `${what} ${span}: ${formatMoney(remainingMinor, 'USD')} of ${formatMoney(amountMinor, 'USD')}`
      })
  })
}
export const uses = async (world: World) => {
  const read = await world.transact(world.tenantId, (tx) => readCreditUses(tx, 'a', PAGE))
  return read.uses.map(({ kind, amountMinor }) => `${kind} ${formatMoney(amountMinor, 'USD')}`)
}
export const balance = async (world: World) => {
  const read = await world.transact(world.tenantId, (tx) => readCredit(tx, 'a', PAGE, world.clock.nowMs))
  return formatMoney(read.balanceMinor, 'USD')
}
export const paid = async (world: World) =>
  (await world.invoices()).map(({ totalMinor, creditMinor, amountDueMinor }) => {
    return [totalMinor, creditMinor, amountDueMinor].map((minor) => formatMoney(minor, 'USD')).join(' ')
  })

export async function ledger(world: World) {
  return world.transact(world.tenantId, async (tx) => {
    const page = { after: null, limit: 10_000 }
    const { grants: all } = await readCredit(tx, 'a', page, 0)
    const { uses: of } = await readCreditUses(tx, 'a', page)
    const sum = (minors: bigint[]) => minors.reduce((total, minor) => total + minor, 0n)
    const used = (kind: string) => sum(of.filter((use) => use.kind === kind).map((use) => use.amountMinor))
    const amounts = (rolled: boolean) =>
      sum(all.filter(({ rolledFrom }) => (rolledFrom !== null) === rolled).map(({ amountMinor }) => amountMinor))
    const remaining = sum(all.map(({ remainingMinor }) => remainingMinor))
    for (const { remainingMinor } of all) expect(remainingMinor).toBeGreaterThanOrEqual(0n)
    return {
      ...{ given: amounts(false), rolledIn: amounts(true), rolledOut: used('rolled'), remaining },
      ...{ drawn: used('drawn'), expired: used('expired') },
    }
  })
}
