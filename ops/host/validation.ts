import type { FastifySchema, FastifySchemaCompiler } from 'fastify'
import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { Value } from 'typebox/value'
import { Problem, type ProblemError } from '../../schemas/http/problem.ts'

type Complaint = { keyword: string; instancePath: string; message: string; params: object }

/** What a union says of its branches is noise when the reader sees that none matched. */
const UNION = new Set(['anyOf', 'oneOf'])

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
    const where = httpPart === 'querystring' ? 'query' : httpPart === 'params' ? 'path' : (httpPart ?? 'request')
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
    return [{ path, message: UNION.has(one.keyword) ? 'matches none of the allowed forms' : one.message }]
  })
  return errors.filter((error, index) => errors.findIndex((other) => other.path === error.path) === index)
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
