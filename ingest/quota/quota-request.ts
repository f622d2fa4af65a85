import type { TenantId } from '../../schemas/http/door.ts'
import { livesMs } from './counter-life.ts'
import { packMarks, type Run, rotatingSets, runsOf } from './quota-marks.ts'
import { type CounterKey, meterOf, type QuotaItem } from './quota-store.ts'
import type { Windows } from './rolling.ts'

/** What both scripts are given, see COMMON in quota-script.lua.ts. */
export type QuotaRequest = {
  /** Each once, in the order of their keys: those that are drawn on, then those that are only read. */
  counters: CounterKey[]
  /** For each draw of each item in turn. */
  drawsFor: RequestedLimit[]
  keys: string[]
  args: string[]
}

/** One of `counters`, what all items together draw on it, and the limits they meet there: nearly always one. */
type Counter = { place: number; totalMicro: bigint; limits: RequestedLimit[] }
/** Its place is counted from 1, as Lua does. `windows`: of a rolling one; `places` of their counters among `counters`. */
export type RequestedLimit = {
  place: number
  counter: Counter
  limitMicro: bigint
  windows: Windows | undefined
  places: readonly (readonly number[])[] | undefined
}

type RollingLimit = { limit: RequestedLimit; key: CounterKey; windows: Windows }

/** What Lua's numbers hold exactly. */
const LARGE_IN_LUA = 1e15

/** Whoever asks again and again asks with the same object: see `counterOf` in prepare.ts. */
const keyTexts = new WeakMap<CounterKey, string>()

export function counterKey(counter: CounterKey): string {
  const known = keyTexts.get(counter)
  if (known !== undefined) return known
  const { tenant, startMs, endMs, subject } = counter
  const text = `quota:{${tenant}}:used:${startMs}-${endMs}:${meterOf(counter)}:${subject}`
  keyTexts.set(counter, text)
  return text
}

export function requestOf(items: readonly QuotaItem[], nowMs: number): QuotaRequest {
  const tenant = items[0]?.draws[0]?.counter.tenant ?? 0
  const counters: CounterKey[] = []
  const keys: string[] = []
  const { limitOf, limits, gathered, rolling } = gatherLimits(counters, keys)
  const drawsFor: RequestedLimit[] = []
  // Written by hand: lists for JSON.stringify would cost more than the text.
  let draws = ''
  for (const item of items) {
    if (item.draws.length === 0) throw notOfOneTenant()
    let separator = draws === '' ? '[[' : ',['
    for (const { counter, micro, limitMicro, windows } of item.draws) {
      if (counter.tenant !== tenant) throw notOfOneTenant()
      const limit = limitOf(counter, limitMicro, windows)
      limit.counter.totalMicro += micro
      drawsFor.push(limit)
      draws += `${separator}${limit.place},${jsonOf(micro)}`
      separator = ','
    }
    draws += ']'
  }
  const totals = gathered.map(({ totalMicro }) => jsonOf(totalMicro))
  const limitsOfCounters = limits.map(({ counter, limitMicro }) => `${counter.place + 1},${jsonOf(limitMicro)}`)
  const windows = rolling.length > 0 ? readWindows(rolling, counters, keys) : ''
  const runs = placesOf(runsOf(tenant, items, nowMs), tenant, keys)
  const head = `[[${totals.join()}],[${limitsOfCounters.join()}],[${runs.join()}]${windows}]`
  return { counters, drawsFor, keys, args: [head, packMarks(items), `${draws}]`] }
}

/** Keys of two tenants may lie in two slots, where no script reaches both: such a request is its caller's mistake. */
function notOfOneTenant(): RangeError {
  return new RangeError('Items of one request draw, and on counters of one tenant')
}

/** Draws share the object of their counter's key mostly, and are told apart by its text where they do not. */
function gatherLimits(counters: CounterKey[], keys: string[]) {
  const limits: RequestedLimit[] = []
  const gathered: Counter[] = []
  const byText = new Map<string, Counter>()
  const latest = new Map<CounterKey, RequestedLimit>()
  const rolling: RollingLimit[] = []
  const find = (key: CounterKey, limitMicro: bigint, windows: Windows | undefined): RequestedLimit => {
    const text = counterKey(key)
    let counter = byText.get(text)
    if (!counter) {
      counter = { place: counters.push(key) - 1, totalMicro: 0n, limits: [] }
      gathered.push(counter)
      keys.push(text)
      byText.set(text, counter)
    }
    for (const known of counter.limits) {
      // As many windows of one bucket are the same ones.
      if (known.limitMicro === limitMicro && known.windows?.length === windows?.length) return known
    }
    const limit: RequestedLimit = { place: limits.length + 1, counter, limitMicro, windows, places: undefined }
    limits.push(limit)
    counter.limits.push(limit)
    if (windows) rolling.push({ limit, key, windows })
    return limit
  }
  const limitOf = (key: CounterKey, limitMicro: bigint, windows: Windows | undefined): RequestedLimit => {
    const known = latest.get(key)
    if (known?.limitMicro === limitMicro && known.windows === windows) return known
    const limit = find(key, limitMicro, windows)
    latest.set(key, limit)
    return limit
  }
  return { limitOf, limits, gathered, rolling }
}

/** Adds the counters of windows that nobody draws on; of each rolling limit what ROLLING needs, as JSON. */
function readWindows(rolling: readonly RollingLimit[], counters: CounterKey[], keys: string[]): string {
  const places = new Map(keys.map((text, place) => [text, place]))
  const placeOf = (key: CounterKey): number => {
    const text = counterKey(key)
    const known = places.get(text)
    if (known !== undefined) return known
    keys.push(text)
    const place = counters.push(key) - 1
    places.set(text, place)
    return place
  }
  const drawnOn = counters.length
  const parts = rolling.map(({ limit, key, windows }) => {
    limit.places = windows.map((window) => window.map(placeOf))
    const fromOne = limit.places.map((window) => `[${window.map((place) => place + 1).join()}]`)
    return `[${limit.place},${livesMs(key) / 1_000},[${fromOne.join()}]]`
  })
  return `,${counters.length - drawnOn},[${parts.join()}]`
}

/** Adds the sets of the runs to the keys; three numbers for each run, see MARKS in quota-marks.lua.ts. */
function placesOf(runs: readonly Run[], tenant: TenantId, keys: string[]): number[] {
  const places = new Map<string, number>()
  for (const { key } of runs) {
    if (key !== undefined && !places.has(key)) places.set(key, keys.push(key))
  }
  const newMarks = keys.push(...rotatingSets(tenant)) - 1
  return runs.flatMap(({ key, writes, items }) => {
    const place = key === undefined ? 0 : (places.get(key) ?? 0)
    return [place, writes ? place : newMarks, items]
  })
}

/** Small values are numbers in Lua, which are exact that far; larger ones are texts. */
function jsonOf(micro: bigint): string {
  const value = Number(micro)
  if (value < 0) throw new RangeError(`A draw and a limit are not negative, and one is ${micro}`)
  if (value >= LARGE_IN_LUA) return `"${micro}"`
  // Whole units, as nearly all are, are small numbers, whose text costs a quarter. The quotient of a number below 10^15
  // is whole only if it is exact.
  const whole = value / 1_000_000
  return value > 0 && Number.isInteger(whole) ? `${whole}000000` : `${value}`
}
