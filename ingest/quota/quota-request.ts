import type { TenantId } from '../../schemas/http/door.ts'
import { packMarks, type Run, rotatingSets, runsOf } from './quota-marks.ts'
import type { CounterKey, QuotaItem } from './quota-store.ts'

/** What both scripts are given, see COMMON in quota-script.lua.ts. */
export type QuotaRequest = {
  /** Each once, in the order of their keys. */
  counters: CounterKey[]
  /** For each draw of each item in turn, which of `counters` it draws on. */
  drawsOn: number[]
  keys: string[]
  args: string[]
}

/** One of `counters`, what all items together draw on it, and the limits they meet there: nearly always one. */
type Counter = { place: number; totalMicro: bigint; limits: Limit[] }
/** Its place is counted from 1, as Lua does. */
type Limit = { place: number; counter: Counter; limitMicro: bigint }

/** What Lua's numbers hold exactly. */
const LARGE_IN_LUA = 10n ** 15n

/** Whoever asks again and again asks with the same object: see `counterOf` in prepare.ts. */
const keyTexts = new WeakMap<CounterKey, string>()

export function counterKey(counter: CounterKey): string {
  const known = keyTexts.get(counter)
  if (known !== undefined) return known
  const { tenant, startMs, endMs, meter, subject } = counter
  const text = `quota:{${tenant}}:used:${startMs}-${endMs}:${meter}:${subject}`
  keyTexts.set(counter, text)
  return text
}

export function requestOf(items: readonly QuotaItem[], nowMs: number): QuotaRequest {
  const tenant = items[0]?.draws[0]?.counter.tenant ?? 0
  const counters: CounterKey[] = []
  const keys: string[] = []
  const { limitOf, limits, gathered } = gatherLimits(counters, keys)
  const drawsOn: number[] = []
  // Written by hand: lists for JSON.stringify would cost more than the text.
  let draws = ''
  for (const item of items) {
    if (item.draws.length === 0) throw notOfOneTenant()
    let separator = draws === '' ? '[[' : ',['
    for (const { counter, micro, limitMicro } of item.draws) {
      if (counter.tenant !== tenant) throw notOfOneTenant()
      const limit = limitOf(counter, limitMicro)
      limit.counter.totalMicro += micro
      drawsOn.push(limit.counter.place)
      draws += `${separator}${limit.place},${jsonOf(micro)}`
      separator = ','
    }
    draws += ']'
  }
  const totals = gathered.map(({ totalMicro }) => jsonOf(totalMicro))
  const limitsOfCounters = limits.map(({ counter, limitMicro }) => `${counter.place + 1},${jsonOf(limitMicro)}`)
  const runs = placesOf(runsOf(tenant, items, nowMs), tenant, keys)
  const head = `[[${totals.join()}],[${limitsOfCounters.join()}],[${runs.join()}]]`
  return { counters, drawsOn, keys, args: [head, packMarks(items), `${draws}]`] }
}

/** Keys of two tenants may lie in two slots, where no script reaches both: such a request is its caller's mistake. */
function notOfOneTenant(): RangeError {
  return new RangeError('Items of one request draw, and on counters of one tenant')
}

/** Draws share the object of their counter's key mostly, and are told apart by its text where they do not. */
function gatherLimits(counters: CounterKey[], keys: string[]) {
  const limits: Limit[] = []
  const gathered: Counter[] = []
  const byText = new Map<string, Counter>()
  const latest = new Map<CounterKey, Limit>()
  const find = (key: CounterKey, limitMicro: bigint): Limit => {
    const text = counterKey(key)
    let counter = byText.get(text)
    if (!counter) {
      counter = { place: counters.push(key) - 1, totalMicro: 0n, limits: [] }
      gathered.push(counter)
      keys.push(text)
      byText.set(text, counter)
    }
    const known = counter.limits.find((one) => one.limitMicro === limitMicro)
    if (known) return known
    const limit = { place: limits.length + 1, counter, limitMicro }
    limits.push(limit)
    counter.limits.push(limit)
    return limit
  }
  const limitOf = (key: CounterKey, limitMicro: bigint): Limit => {
    const known = latest.get(key)
    if (known?.limitMicro === limitMicro) return known
    const limit = find(key, limitMicro)
    latest.set(key, limit)
    return limit
  }
  return { limitOf, limits, gathered }
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
  if (micro < 0n) throw new RangeError(`A draw and a limit are not negative, and one is ${micro}`)
  return micro < LARGE_IN_LUA ? String(Number(micro)) : `"${micro}"`
}
