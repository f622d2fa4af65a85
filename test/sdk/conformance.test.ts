import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { TallylineOptions, UsageEvent } from '../../sdk/typescript/src/tallyline.ts'
import { REPOSITORY } from '../support/source-files.ts'
import { clientOf } from './support/client.ts'
import { acceptAll, type Script, type Scripted, type Sent } from './support/scripted-server.ts'
import { START_MS } from './support/virtual-clock.ts'

type Answer = { status: number; headers?: Record<string, string>; body?: unknown } | { network_error: true }
type Settings = {
  batch_events?: number
  refused_tries?: number
  refused_for_ms?: number
  first_quantity?: string
  when_away?: 'open' | 'closed'
  idle_ms?: number
}
type Case = { why: string; settings: Settings; answers: Answer[] }
type EventsCase = Case & {
  kind: 'events'
  emits: UsageEvent[]
  expect: {
    requests: number[][]
    least_waits_ms?: number[]
    accepted: number
    duplicates: number
    dead: { emit: number; code: string; path?: string }[]
    events?: Record<string, string | null>[]
  }
}
type Check = {
  check: { subject: string; meter: string; quantity: number }
  allowed: boolean
  reason: string
  hold: string | null
}
type QuotaCase = Case & {
  kind: 'quota'
  steps: (Check | { pass_ms: number } | { close: true })[]
  expect: { requests: object[]; most_requests?: number; same_key?: number[]; returned?: Record<string, string> }
}

const FOLDER = join(REPOSITORY, 'sdk/conformance')
const cases = readdirSync(FOLDER)
  .filter((name) => name.endsWith('.json'))
  .map((name) => ({ name, ...(JSON.parse(readFileSync(join(FOLDER, name), 'utf8')) as EventsCase | QuotaCase) }))
const ofEvents = cases.filter((one) => one.kind === 'events')
const ofQuotas = cases.filter((one) => one.kind === 'quota')
const LEASES_PATH = '/api/v1/quota/leases'
const HOUR_MS = 3_600_000
const STEP_MS = 50

function optionsOf(settings: Settings): Partial<TallylineOptions> {
  return {
    batchEvents: settings.batch_events ?? 500,
    refusedTries: settings.refused_tries ?? 5,
    refusedForMs: settings.refused_for_ms ?? 300_000,
    // One after another, so that the order is the same in every language.
    concurrency: 1,
    quota: {
      firstQuantity: Number(settings.first_quantity ?? 10),
      whenAway: settings.when_away ?? 'open',
      ...(settings.idle_ms === undefined ? {} : { idleMs: settings.idle_ms }),
    },
  }
}

function answered(answer: Answer): Scripted {
  if ('network_error' in answer) throw new TypeError('fetch failed')
  return answer
}

test('the set is there', () => {
  expect(ofEvents.length).toBeGreaterThanOrEqual(20)
  expect(ofQuotas.length).toBeGreaterThanOrEqual(9)
})

/** Issue 6: a language-neutral conformance set that an SDK must pass. */
describe('events', () => {
  test.each(ofEvents)('$name: $why', async ({ settings, answers, emits, expect: expected }) => {
    const script: Script = (request, index) => {
      const answer = answers[index]
      return answer ? answered(answer) : acceptAll(request)
    }
    const { tallyline, clock, sent, dead } = clientOf(script, optionsOf(settings))
    const ids = emits.map((event) => tallyline.emit(event))
    const atMs: number[] = []
    for (let ms = 0; ms < HOUR_MS && tallyline.stats().waiting > 0; ms += STEP_MS) {
      await clock.pass(STEP_MS)
      while (atMs.length < sent.length) atMs.push(clock.monotonicMs())
    }
    expect(sent.map((request) => request.ids.map((id) => ids.indexOf(id)))).toEqual(expected.requests)
    const { accepted, duplicates, waiting } = tallyline.stats()
    expect({ accepted, duplicates, waiting }).toEqual({
      accepted: expected.accepted,
      duplicates: expected.duplicates,
      waiting: 0,
    })
    const told = dead.map(({ event, code, path }) => {
      const emit = emits.findIndex(
        (one, n) => one === event || (ids[n] !== undefined && ids[n] === (event as { id?: string }).id),
      )
      return { emit, code, ...(path === undefined ? {} : { path }) }
    })
    expect(told.sort((a, b) => a.emit - b.emit)).toEqual(expected.dead)
    for (const [index, leastMs] of (expected.least_waits_ms ?? []).entries()) {
      expect(atMs[index]! - (atMs[index - 1] ?? 0)).toBeGreaterThanOrEqual(leastMs)
    }
    expectEvents(sent, ids, expected.events ?? [])
    expectSameBytes(sent)
  })
})

function expectEvents(sent: Sent[], ids: (string | undefined)[], events: Record<string, string | null>[]): void {
  const byId = new Map(eventsOf(sent).map((event) => [event.id, event]))
  for (const [index, members] of events.entries()) {
    const event = byId.get(ids[index] ?? '')
    for (const [name, value] of Object.entries(members)) {
      if (value === '<uuidv7>') {
        expect(event?.[name]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
        expect(Number.parseInt(String(event?.[name]).replace('-', '').slice(0, 12), 16)).toBe(START_MS)
      } else if (value === '<emission>') expect(event?.[name]).toBe(new Date(START_MS).toISOString())
      else expect(event?.[name] ?? null).toBe(value)
    }
  }
}

function eventsOf(sent: Sent[]): (Record<string, unknown> & { id: string })[] {
  return sent.flatMap(({ body }) => body as (Record<string, unknown> & { id: string })[])
}

function expectSameBytes(sent: Sent[]): void {
  const forms = new Map<string, string>()
  for (const event of eventsOf(sent)) {
    const text = JSON.stringify(event)
    expect(forms.get(event.id) ?? text).toBe(text)
    forms.set(event.id, text)
  }
}

describe('quotas', () => {
  test.each(ofQuotas)('$name: $why', async ({ settings, answers, steps, expect: expected }) => {
    let leases = 0
    const script: Script = (request) => {
      if (request.path === '/api/v1/events') return acceptAll(request)
      if (request.path.endsWith('/return')) return { status: 200, body: {} }
      return answered(answers[leases++] ?? { status: 503 })
    }
    const { tallyline, clock, sent } = clientOf(script, optionsOf(settings))
    for (const step of steps) {
      if ('pass_ms' in step) await clock.pass(step.pass_ms)
      else if ('close' in step) {
        const closed = tallyline.close()
        await clock.pass(1_000)
        await closed
      } else {
        const { subject, meter, quantity } = step.check
        const { allowed, reason, hold } = await tallyline.check(subject, meter, quantity)
        expect({ allowed, reason, hold: hold ?? null }).toEqual({
          allowed: step.allowed,
          reason: step.reason,
          hold: step.hold,
        })
      }
    }
    const requests = sent.filter(({ path }) => path === LEASES_PATH)
    expect(requests.slice(0, expected.requests.length)).toMatchObject(expected.requests.map((body) => ({ body })))
    expect(requests.length).toBeLessThanOrEqual(expected.most_requests ?? Number.POSITIVE_INFINITY)
    expect(requests.every(({ headers }) => /\S/.test(headers['idempotency-key'] ?? ''))).toBe(true)
    const keys = (expected.same_key ?? []).map((index) => requests[index]?.headers['idempotency-key'])
    expect(new Set(keys).size).toBeLessThanOrEqual(1)
    const returns = sent.filter(({ path }) => path.endsWith('/return'))
    const returned = returns.map(({ path, body }) => [path.split('/').at(-2), (body as { unused: string }).unused])
    if (expected.returned) expect(Object.fromEntries(returned)).toEqual(expected.returned)
  })
})
