/** What JSON.parse can return. Objects made here have no inherited properties. */
export type JsonValue = null | boolean | number | string | JsonValue[] | JsonObject
export type JsonObject = { [key: string]: JsonValue }

const NOTHING: object = Object.freeze(Object.create(null))

/**
 * An object on which no name is special: `__proto__` and `constructor` are ordinary keys. Its prototype is an empty
 * frozen object and not null, because V8 keeps objects with a null prototype in its slow dictionary form.
 */
export function emptyObject(): JsonObject {
  return Object.create(NOTHING)
}

/** An object in the sense of JSON: neither null nor an array. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** No lone surrogates: the text survives being written as UTF-8. */
export function isWellFormed(text: string): boolean {
  return (text as unknown as { isWellFormed(): boolean }).isWellFormed()
}

/** Whether the text needs more than `limit` bytes as UTF-8, counting them only when its length leaves that open. */
export function longerThan(limit: number, text: string): boolean {
  return text.length > limit || (text.length * 3 > limit && Buffer.byteLength(text) > limit)
}

/** Whether JavaScript writes the number with an exponent, which decimal parsers of stores do not read. */
export function needsExponent(value: number): boolean {
  const size = Math.abs(value)
  return size >= 1e21 || (size < 1e-6 && size !== 0)
}

/** The shortest decimal digits that parse back to the number, never with an exponent: 1e-7 is `0.0000001`. */
export function plainNumber(value: number): string {
  const text = String(value)
  const [mantissa = '', exponentText] = text.split('e')
  if (exponentText === undefined) return text
  const sign = mantissa.startsWith('-') ? '-' : ''
  const [whole = '', fraction = ''] = mantissa.slice(sign.length).split('.')
  const digits = whole + fraction
  const point = whole.length + Number(exponentText)
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`
  return `${sign}${digits}${'0'.repeat(point - digits.length)}`
}

/** JSON text like JSON.stringify's, but with plain numbers. For values of bounded depth. */
export function plainJson(value: JsonValue): string {
  if (typeof value === 'number') return plainNumber(value)
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(plainJson).join(',')}]`
  const members = Object.entries(value).map(([key, member]) => `${JSON.stringify(key)}:${plainJson(member)}`)
  return `{${members.join(',')}}`
}
