import { formatQuantity, parseSum, type Quantity, ZERO } from '../../schemas/quantity.ts'

/** What some events have in common: quantity and number of those with these values; null where an event has none. */
export type Combination = { values: (string | null)[]; quantity: string; events: number }
/** What stood in the events of a line under some names, as in HC-13 payer and code; decimals are text. */
export type AttributeUsage = {
  names: string[]
  /** In the order of their values. */
  combinations: Combination[]
  /** All behind the last of them; null: there are no others. */
  other: { quantity: string; events: number } | null
}

/** A line lists so many. Those first in the order of their values, so that whoever counts again finds the same ones. */
export const MOST_COMBINATIONS = 100
/** Of longer values so many characters are kept. */
export const MOST_CHARACTERS = 256

type Sum = { quantity: Quantity; events: number }

/** Sums up by combination, in whatever order events come, with no more in memory than is listed. */
export function countAttributes(
  names: readonly string[],
  most = MOST_COMBINATIONS,
): {
  add: (properties: Record<string, unknown>, quantity: Quantity, events: number) => void
  usage: () => AttributeUsage
} {
  const sums = new Map<string, Sum>()
  let other: Sum | undefined
  let last = ''
  const without = (key: string, { quantity, events }: Sum) => {
    sums.delete(key)
    other = { quantity: quantity.plus(other?.quantity ?? ZERO), events: events + (other?.events ?? 0) }
  }
  return {
    add: (properties, quantity, events) => {
      const key = JSON.stringify(names.map((name) => textOf(properties[name])))
      const sum = sums.get(key) ?? { quantity: ZERO, events: 0 }
      const more = { quantity: sum.quantity.plus(quantity), events: sum.events + events }
      if (sums.size >= most && !sums.has(key) && key > last) return without(key, more)
      sums.set(key, more)
      if (sums.size <= most) {
        if (key > last) last = key
        return
      }
      without(last, sums.get(last) ?? more)
      last = lastOf(sums)
    },
    usage: () => ({
      names: [...names],
      combinations: [...sums.keys()].sort().map((key) => shown(JSON.parse(key), sums.get(key))),
      other: other === undefined ? null : { quantity: formatQuantity(other.quantity), events: other.events },
    }),
  }
}

function lastOf(sums: ReadonlyMap<string, Sum>): string {
  let last = ''
  for (const key of sums.keys()) if (key > last) last = key
  return last
}

function shown(values: (string | null)[], sum: Sum | undefined): Combination {
  return { values, quantity: formatQuantity(sum?.quantity ?? parseSum('0')), events: sum?.events ?? 0 }
}

/** Texts, numbers and truth values are told apart as in a matrix; anything else is no value. Postgres keeps no zero byte. */
function textOf(value: unknown): string | null {
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') return null
  return [...String(value).replaceAll('\0', '\uFFFD')].slice(0, MOST_CHARACTERS).join('')
}
