import { Problem } from '../../../schemas/http/problem.ts'
import { BadCase, badCase } from './bad-case.ts'
import { isObject } from './case-shape.ts'
import { quoteAggregate } from './quote-aggregate.ts'
import { quotePeriods } from './quote-periods.ts'
import { quotePrice } from './quote-price.ts'
import { quoteProration } from './quote-proration.ts'

/** By the `kind` of a case, what computes it. */
const QUOTES: Readonly<Record<string, (input: unknown) => object>> = {
  price: quotePrice,
  periods: quotePeriods,
  proration: quoteProration,
  aggregate: quoteAggregate,
}

/** What people write beside a case: for themselves, and passed over. */
const NOTES = ['name', 'note', 'notes', 'description', 'source', 'expect', 'expected', 'comment', 'tags']

/**
 * The answer to a case as JSON on one line. It never throws: a bad case answers with what is wrong with it. Whoever gives
 * a case an `id`, of whatever form, has it back in the answer.
 */
export function quoteLine(line: string): string {
  let named: { id?: unknown } = {}
  try {
    const { id, rest } = withoutId(parsed(line))
    if (id !== undefined) named = { id }
    return JSON.stringify({ ...named, ...quoteCase(rest) })
  } catch (error) {
    const field = error instanceof BadCase ? error.field : 'case'
    return JSON.stringify({ ...named, error: { field, message: messageOf(error) } })
  }
}

function withoutId(input: unknown): { id?: unknown; rest: unknown } {
  if (!isObject(input) || !('id' in input)) return { rest: input }
  const { id, ...rest } = input
  return { id, rest }
}

/** @throws BadCase naming the field that is wrong, Problem for an amount that cannot be stored. */
export function quoteCase(input: unknown): object {
  if (!isObject(input)) throw badCase('case', 'A case is a JSON object.')
  const kind = 'kind' in input ? input.kind : undefined
  const quote = typeof kind === 'string' && Object.hasOwn(QUOTES, kind) ? QUOTES[kind] : undefined
  if (quote === undefined) throw badCase('kind', `Send one of ${Object.keys(QUOTES).join(', ')}.`)
  return quote(withoutNotes(input))
}

function withoutNotes(input: object): object {
  if (!NOTES.some((name) => Object.hasOwn(input, name))) return input
  return Object.fromEntries(Object.entries(input).filter(([name]) => !NOTES.includes(name)))
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    throw badCase('case', 'This line is not JSON.')
  }
}

/** What is neither a bad case nor refused is a mistake of ours, and must not end the cases after it. */
function messageOf(error: unknown): string {
  if (error instanceof BadCase || error instanceof Problem) return error.message
  return `This case cannot be computed: ${error instanceof Error ? error.message : String(error)}`
}
