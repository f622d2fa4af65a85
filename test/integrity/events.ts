import { type Random, randomOf } from '../support/random.ts'
import type { Tokens } from './bill.ts'
import { EVENT_TYPE, METERS, MONTH, SUBJECTS } from './catalog.ts'

/** One event as its emitter knows it. Without a time, that of arrival holds. */
export type TestEvent = {
  id: string
  source: string
  subject: string
  timeMs: number | undefined
  context: number
  generated: number
}

const DAY_MS = 86_400_000
const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const SOURCES = ['gateway-a', 'gateway-b']
/** Old ids lie in few slices, as a backfill's do: each slice is a shard. */
const OLD_SLICES = 20

export type EventSource = { next(): TestEvent; random: Random }

/** Endless events: UUIDv7, ULID and opaque ids; most of the billed month, some before and after it, some of now. */
export function eventSource(seed: number): EventSource {
  const random = randomOf(seed)
  let count = 0
  return {
    random,
    next: () => {
      const timeMs = drawTime(random)
      const oldSliceMs = MONTH.startMs + random.below(OLD_SLICES) * DAY_MS + random.below(10_000)
      const idTimeMs = timeMs !== undefined && random.chance(0.2) ? oldSliceMs : Date.now()
      return {
        id: drawId(random, idTimeMs, count++),
        source: random.pick(SOURCES),
        subject: random.pick(SUBJECTS),
        timeMs,
        context: random.below(4_000),
        generated: random.below(900) + 1,
      }
    },
  }
}

function drawTime(random: Random): number | undefined {
  const draw = random.next()
  if (draw < 0.6) return MONTH.startMs + random.below(MONTH.endMs - MONTH.startMs)
  if (draw < 0.65) return MONTH.startMs - 1 - random.below(DAY_MS)
  if (draw < 0.7) return MONTH.endMs + random.below(DAY_MS)
  return draw < 0.85 ? Date.now() : undefined
}

function drawId(random: Random, timeMs: number, count: number): string {
  const kind = random.below(3)
  if (kind === 0) return `row-${count}-${random.hex(4)}`
  if (kind === 1)
    return `${inBase32(timeMs, 10)}${Array.from({ length: 16 }, () => random.pick([...CROCKFORD])).join('')}`
  const time = timeMs.toString(16).padStart(12, '0')
  const variant = random.pick(['8', '9', 'a', 'b'])
  return `${time.slice(0, 8)}-${time.slice(8)}-7${random.hex(3)}-${variant}${random.hex(3)}-${random.hex(12)}`
}

function inBase32(value: number, digits: number): string {
  let text = ''
  for (let rest = value; text.length < digits; rest = Math.floor(rest / 32)) text = CROCKFORD.charAt(rest % 32) + text
  return text
}

/** A later copy of an event: the same, or without its time, or with another one. Whichever it is, it never counts. */
export function copyOf(event: TestEvent, random: Random): TestEvent {
  const draw = random.next()
  if (draw < 0.5) return event
  return { ...event, timeMs: draw < 0.75 ? undefined : MONTH.startMs + random.below(MONTH.endMs - MONTH.startMs) }
}

export function cloudEvent({ id, source, subject, timeMs, context, generated }: TestEvent): object {
  return {
    specversion: '1.0',
    id,
    source,
    type: EVENT_TYPE,
    subject,
    ...(timeMs === undefined ? {} : { time: new Date(timeMs).toISOString() }),
    data: { [METERS.context]: context, [METERS.generated]: generated },
  }
}

export function keyOf({ source, id }: { source: string; id: string }): string {
  return `${source} ${id}`
}

export type Counted = Tokens & { events: number }

/** Events and tokens by subject: a plain sum, each event once. */
export function countBySubject(events: Iterable<TestEvent>): Map<string, Counted> {
  const bySubject = new Map(SUBJECTS.map((subject) => [subject, { events: 0, context: 0n, generated: 0n }]))
  for (const event of events) {
    const count = bySubject.get(event.subject)
    if (!count) throw new Error(`${event.subject} is no subject of the test`)
    count.events += 1
    count.context += BigInt(event.context)
    count.generated += BigInt(event.generated)
  }
  return bySubject
}

export function inMonth({ timeMs }: TestEvent): boolean {
  return timeMs !== undefined && timeMs >= MONTH.startMs && timeMs < MONTH.endMs
}
