import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { drawsFor } from '../../../ingest/quota/limit-draws.ts'
import type { QuotaStore } from '../../../ingest/quota/quota-store.ts'
import { limitsOf } from '../../../ingest/quota/standing.ts'
import { createLookQueue, type LookQueue } from '../../../ingest/quota/thresholds/look-queue.ts'
import { rememberCounters } from '../../../ingest/quota/thresholds/watched.ts'
import { openSite, type Site } from './thresholds-site.ts'

/** Issue 6: one counter that cannot be read must not hold up what is told of the others. */
let site: Site
let tenant: number

beforeAll(async () => {
  site = await openSite()
})
afterAll(() => site.close())
beforeEach(async () => {
  tenant = await site.tenant()
})

/** Counters at 60 of 100, of which some cannot be read. */
async function openQueue(subjects: readonly string[], isBroken: (subject: string) => boolean) {
  // Drawn by a process that tells of nothing, as one that is killed right then.
  const killed = site.open({ mostStopMs: 0 })
  await killed.watch.stop()
  for (const subject of subjects) await site.entitle(tenant, subject, '100', { thresholds: ['50%'] })
  for (const subject of subjects) await killed.use(tenant, 60, subject)
  const asked: string[] = []
  const read: QuotaStore['read'] = async (counters, ...args) => {
    asked.push(counters.map(({ subject }) => subject).join(' '))
    if (counters.some(({ subject }) => isBroken(subject))) throw new Error('unreadable')
    return site.log.quota.read(counters, ...args)
  }
  const now = () => site.clock.nowMs
  const deps = { pool: site.database.pool, config: site.config, loadCounters: async () => undefined, now }
  const queue = createLookQueue(
    { ...deps, quota: { read }, logger: pino({ level: 'silent' }), fired: () => undefined },
    100,
  )
  const memory = rememberCounters(100)
  const config = await site.config.get(tenant)
  const watchedOf = (subject: string) => memory.of(drawsFor(limitsOf(config, tenant, subject, now()), 0n)[0]!)
  return { queue, asked, watchedOf }
}
/** Whatever waits, as when it is due. */
const lookAtAll = (queue: LookQueue) => queue.lookAt(Number.POSITIVE_INFINITY)
const subjectsTold = async () => (await site.alerts(tenant)).map(({ subject }) => subject).sort()

describe('counters that wait to be looked at', () => {
  test('are told of although one of them cannot be read, which after three failures waits no longer', async () => {
    const subjects = ['a', 'broken', 'b', 'c']
    const { queue, asked, watchedOf } = await openQueue(subjects, (subject) => subject === 'broken')
    for (const subject of subjects) queue.add(watchedOf(subject))
    await lookAtAll(queue)
    expect(asked).toEqual(['a broken b c', 'a', 'broken', 'b', 'c'])
    expect(await subjectsTold()).toEqual(['a', 'b', 'c'])
    for (let n = 0; n < 2; n++) {
      expect(queue.isEmpty()).toBe(false)
      queue.add(watchedOf('a'))
      await lookAtAll(queue)
    }
    expect(queue.isEmpty()).toBe(true)
    // A draw or who passes by finds it again, and then it is not looked at for a while.
    queue.add(watchedOf('broken'))
    const before = asked.length
    await queue.lookAt(performance.now() + 50_000)
    expect(asked.length).toBe(before)
    await lookAtAll(queue)
    expect(asked.length).toBe(before + 1)
  })

  test('wait on while nothing can be read, however often they were tried, and few are tried', async () => {
    let away = true
    const subjects = Array.from({ length: 20 }, (_, n) => `s-${String(n).padStart(2, '0')}`)
    const { queue, asked, watchedOf } = await openQueue(subjects, () => away)
    for (const subject of subjects) queue.add(watchedOf(subject))
    for (let n = 0; n < 10; n++) await lookAtAll(queue)
    expect(asked).toHaveLength(10 * 4)
    away = false
    await lookAtAll(queue)
    expect(await subjectsTold()).toEqual(subjects)
    expect(queue.isEmpty()).toBe(true)
  })

  test('are told of although many cannot be read and come first', async () => {
    const broken = Array.from({ length: 7 }, (_, n) => `broken-${n}`)
    const { queue, watchedOf } = await openQueue([...broken, 'a', 'b'], (subject) => subject.startsWith('broken'))
    for (const subject of [...broken, 'a', 'b']) queue.add(watchedOf(subject))
    for (let n = 0; n < 3; n++) await lookAtAll(queue)
    expect(await subjectsTold()).toEqual(['a', 'b'])
  })
})
