import type { RecordSchema, Schema } from '../../../ingest/event-types/schema.ts'
import type { Json } from './row.ts'
import { isNumberText } from './row.ts'

const NUMBER = /^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/

export function looksLikeNumber(text: string): boolean {
  return NUMBER.test(text)
}

/**
 * The number that a text says, if a JSON number says exactly the same: its nearest double prints as the same decimal.
 * Undefined otherwise: then the text must travel as text, or digits would be lost.
 */
export function exactNumber(text: string): number | undefined {
  const value = Number(text)
  return Number.isFinite(value) && decimalOf(text) === decimalOf(String(value)) ? value : undefined
}

/** One spelling for each decimal number: its digits without zeros at the ends, and the power of ten behind them. */
function decimalOf(text: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? []
  const digits = (whole + fraction).replace(/^0+/, '')
  const short = digits.replace(/0+$/, '')
  return `${sign}${short}e${short === '' ? 0 : Number(exponent) - fraction.length + digits.length - short.length}`
}

/**
 * Data as it is sent: a number of the file goes as the text it stands there as where the type asks for a decimal, and
 * where a JSON number would not say the same; else as a number.
 */
export function withNumbers(value: unknown, schema: Schema | undefined): Json {
  if (isNumberText(value)) {
    return asksForText(schema) ? value.numberText : (exactNumber(value.numberText) ?? value.numberText)
  }
  if (Array.isArray(value)) {
    const items = branchOf(schema, 'array')
    return value.map((item) => withNumbers(item, items?.items))
  }
  if (typeof value === 'object' && value !== null) {
    const record = branchOf(schema, 'record')
    const map = branchOf(schema, 'map')
    const of = (name: string) => fieldOf(record, name) ?? map?.values
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, withNumbers(member, of(name))]))
  }
  return value as Json
}

function asksForText(schema: Schema | undefined): boolean {
  return branchOf(schema, 'decimal') !== undefined
}

type Kind = 'array' | 'record' | 'map' | 'decimal'

/** The schema if it is of the kind, or the first branch of the union that is. */
function branchOf<K extends Kind>(schema: Schema | undefined, kind: K): Extract<Schema, { kind: K }> | undefined {
  const branches = schema?.kind === 'union' ? schema.branches : schema ? [schema] : []
  return branches.find((branch): branch is Extract<Schema, { kind: K }> => branch.kind === kind)
}

function fieldOf(record: RecordSchema | undefined, name: string): Schema | undefined {
  return record?.fields.find((field) => field.name === name)?.type
}
