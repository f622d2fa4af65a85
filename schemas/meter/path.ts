import { Problem } from '../http/problem.ts'

/** A property inside an event's data: the keys to follow. */
export type Path = readonly string[]

export const MAX_DEPTH = 8
/** One key of a path. */
export const KEY = /^[A-Za-z_][A-Za-z0-9_-]{0,63}$/

/** `tokens.input` and `$.tokens.input` are the keys tokens, input inside `data`. Throws invalid_request. */
export function parsePath(text: string, member: string): string[] {
  if (typeof text !== 'string') throw invalidMeter(member, 'is a dotted path inside data')
  const keys = text.replace(/^\$\./, '').split('.')
  if (keys.length > MAX_DEPTH) throw invalidMeter(member, `at most ${MAX_DEPTH} keys deep`)
  for (const key of keys) {
    if (!KEY.test(key))
      throw invalidMeter(member, `"${text}" is no dotted path inside data: keys are letters, digits, _ and -`)
  }
  return keys
}

/** Whether a text names a property as {@link parsePath} reads it, in the one way without `$.`. */
export function isPath(text: string): boolean {
  const keys = text.split('.')
  return keys.length <= MAX_DEPTH && keys.every((key) => KEY.test(key))
}

/** What stands at a path of an event's data; undefined if there is nothing. */
export function propertyAt(data: unknown, path: Path): unknown {
  let value = data
  for (const key of path) {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, key))
      return undefined
    value = (value as Record<string, unknown>)[key]
  }
  return value
}

/** A meter that cannot be, by the member at fault. */
export function invalidMeter(path: string, message: string): Problem {
  return new Problem('invalid_request', `The meter is not valid: ${path}: ${message}`, { errors: [{ path, message }] })
}
