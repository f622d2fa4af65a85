import type { FastifySchema, FastifySchemaCompiler } from 'fastify'
import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { Value } from 'typebox/value'
import { Problem, type ProblemError } from '../../schemas/http/problem.ts'

type Complaint = { keyword: string; schemaPath: string; instancePath: string; message: string; params: object }

/** What a union says of its branches is noise when the reader sees that none matched. */
const UNION = new Set(['anyOf', 'oneOf'])

/** What to send where a format is missed; the validator only names it. */
const FORMATS = new Map([
  ['must match format "date-time"', 'must be an RFC 3339 time with its offset, such as 2026-01-31T12:00:00Z'],
  ['must match format "date"', 'must be a day, such as 2026-01-31'],
  ['must match format "uuid"', 'must be an id, as it was answered'],
])
/** What a reader calls the part of the request. */
const PARTS = new Map<string | undefined, string>([
  ['body', 'body'],
  ['querystring', 'query'],
  ['params', 'path'],
  ['headers', 'header'],
])

/**
 * Validates with TypeBox, which wrote the schemas. Text of query and path becomes the number or boolean its schema
 * asks for; a body is never converted. At most eight errors are reported, whatever the size of the request.
 */
export const validatorCompiler: FastifySchemaCompiler<FastifySchema> = ({ schema, httpPart }) => {
  const type = schema as TSchema
  const validator = Compile(type)
  const isText = httpPart !== 'body'
  const fillsIn = hasDefaults(type)
  return (value: unknown) => {
    const converted = isText ? Value.Convert(type, value) : value
    const complete = fillsIn ? Value.Default(type, converted) : converted
    if (validator.Check(complete)) return { value: complete }
    const errors = readableErrors(validator.Errors(complete) as Complaint[])
    const first = errors[0]
    const where = PARTS.get(httpPart) ?? 'request'
    const detail = first ? `The ${where} is not valid: ${first.path || where} ${first.message}.` : 'Not valid.'
    return { error: new Problem('invalid_request', detail, { errors }) }
  }
}

/** Filling in walks through all of the value, which takes microseconds, and few schemas have anything to fill in. */
function hasDefaults(schema: unknown): boolean {
  if (typeof schema !== 'object' || schema === null) return false
  return 'default' in schema || Object.values(schema).some(hasDefaults)
}

/** Documents a body that the route reads itself: the schema describes it, the host does not check it. */
export const documentingCompiler: FastifySchemaCompiler<FastifySchema> = (route) =>
  route.httpPart === 'body' ? (value: unknown) => ({ value }) : validatorCompiler(route)

export function readableErrors(complaints: Complaint[]): ProblemError[] {
  const unions = complaints.filter((one) => UNION.has(one.keyword)).map((one) => one.instancePath)
  const errors = complaints.flatMap((one) => {
    const path = dotted(one.instancePath)
    if (one.keyword === 'boolean') return [{ path, message: 'is not a known member' }]
    if (one.keyword === 'additionalProperties') return []
    if (one.keyword === 'required') return missing(path, one.params)
    if (unions.includes(one.instancePath) && !UNION.has(one.keyword)) return []
    if (one.keyword === 'type' && isListed(one, complaints)) return []
    const isUnion = UNION.has(one.keyword)
    if (!isUnion && one.keyword !== 'enum' && one.keyword !== 'const') {
      return [{ path, message: FORMATS.get(one.message) ?? one.message }]
    }
    return [{ path, message: allowedAt(one.instancePath, complaints) ?? 'matches none of the allowed forms' }]
  })
  return errors.filter((error, index) => errors.findIndex((other) => other.path === error.path) === index)
}

/** Whether the same schema also lists its values, which says more than their type. */
function isListed({ schemaPath, instancePath }: Complaint, complaints: readonly Complaint[]): boolean {
  return complaints.some(
    (one) => one.keyword === 'const' && one.schemaPath === schemaPath && one.instancePath === instancePath,
  )
}

/** The values that may stand there; undefined where other forms than listed ones are allowed too. */
function allowedAt(instancePath: string, complaints: readonly Complaint[]): string | undefined {
  const here = complaints.filter((one) => one.instancePath === instancePath && !UNION.has(one.keyword))
  const listing = here.filter(({ keyword }) => keyword === 'enum' || keyword === 'const')
  const others = here.filter((one) => !listing.some(({ schemaPath }) => schemaPath === one.schemaPath))
  if (listing.length === 0 || others.some((one) => one.message !== 'must be null')) return undefined
  const values = listing.flatMap(({ params }) => {
    const { allowedValue, allowedValues } = params as { allowedValue?: unknown; allowedValues?: unknown[] }
    return allowedValues ?? [allowedValue]
  })
  return `must be one of ${[...values, ...(others.length === 0 ? [] : ['null'])].join(', ')}`
}

function missing(path: string, params: object): ProblemError[] {
  const { requiredProperties } = params as { requiredProperties?: string[] }
  return (requiredProperties ?? []).map((name) => ({ path: path ? `${path}.${name}` : name, message: 'is missing' }))
}

/** A JSON pointer as a dotted path: `/charges/0/price` → `charges.0.price`. Names are cut: they are the caller's text. */
function dotted(pointer: string): string {
  const names = pointer.split('/').slice(1)
  return names
    .map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~').slice(0, 80))
    .join('.')
    .slice(0, 400)
}
