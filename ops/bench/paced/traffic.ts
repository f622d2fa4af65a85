import { randomUUID } from 'node:crypto'
import { dataOf, EVENT_TYPE, SOURCE, subjectOf } from '../events.ts'

/** What events are like, as shares of all: `late` ids are of some time in the last day, `copies` were sent before. */
export type Shape = { ids: 'uuidv7' | 'opaque'; lateShare: number; copyShare: number }
export const PLAIN: Shape = { ids: 'uuidv7', lateShare: 0, copyShare: 0 }

/** A request's body; `fresh` events of it were not sent before. */
export type Body = { text: string; fresh: number }
export type Traffic = { next(events: number, nowMs: number): Body }

export const LATE_SPREAD_MS = 24 * 3_600_000
/** Emitters try again within seconds; one event of a request is kept for that. */
const KEPT_FOR_COPIES = 500
/** Multiples of it lie evenly in a day, in no order. */
const GOLDEN = 0.6180339887498949

/** Texts are put together by hand: the process that sends must not take the cores of those that are measured. */
export function createTraffic(shape: Shape): Traffic {
  const kept: string[] = []
  let made = 0
  let late = 0
  let copied = 0
  const timeOf = (nowMs: number) => {
    if (made * shape.lateShare < late + 1) return nowMs
    late++
    return Math.floor(nowMs - ((late * GOLDEN) % 1) * LATE_SPREAD_MS)
  }
  const next: Traffic['next'] = (events, nowMs) => {
    const now = new Date(nowMs).toISOString()
    const texts: string[] = []
    let fresh = 0
    while (texts.length < events) {
      made++
      const earlier = made * shape.copyShare >= copied + 1 ? kept[copied % kept.length] : undefined
      if (earlier !== undefined) {
        copied++
        texts.push(earlier)
        continue
      }
      const timeMs = timeOf(nowMs)
      const id = shape.ids === 'opaque' ? randomUUID() : uuidV7(timeMs)
      texts.push(eventText(id, timeMs === nowMs ? now : new Date(timeMs).toISOString(), made))
      fresh++
    }
    keep(texts[0])
    return { text: `[${texts.join()}]`, fresh }
  }
  const keep = (text: string | undefined) => {
    if (text !== undefined) kept.push(text)
    if (kept.length > KEPT_FOR_COPIES) kept.shift()
  }
  return { next }
}

function eventText(id: string, time: string, index: number): string {
  const head = `{"specversion":"1.0","id":"${id}","source":"${SOURCE}","type":"${EVENT_TYPE}"`
  return `${head},"subject":"${subjectOf(index)}","time":"${time}","data":${JSON.stringify(dataOf(index))}}`
}

/** The random part of a quickly made UUIDv4, under a time. */
export function uuidV7(timeMs: number): string {
  const stamp = timeMs.toString(16).padStart(12, '0')
  return `${stamp.slice(0, 8)}-${stamp.slice(8)}-7${randomUUID().slice(15)}`
}
