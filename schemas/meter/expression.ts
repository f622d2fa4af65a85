import { isQuantityText } from '../quantity.ts'
import { invalidMeter, KEY, MAX_DEPTH, type Path } from './path.ts'
import {
  add,
  constant,
  multiply,
  negate,
  OutOfBounds,
  type Polynomial,
  property,
  samePolynomial,
  type Term,
  type ValueForm,
} from './polynomial.ts'

const MAX_LENGTH = 512
const TOKEN = /(?<space> +)|(?<number>[0-9.]+)|(?<path>(?:\$\.)?[A-Za-z_][A-Za-z0-9_.-]*)|(?<sign>[-+*/()])/y
const ONE: Polynomial = [['1', []]]

type Token = { kind: 'number' | 'path' | 'sign' | 'end'; text: string; at: number }
/** Tokens, and how many of them were read. */
type Reading = { tokens: readonly Token[]; next: number; member: string }

/**
 * Parses decimals, dotted paths, + - * / and parentheses to the normal form. A minus between properties has spaces
 * around it, because `a-b` is a name. Throws Problem invalid_request that names the member and the position.
 */
export function parseValue(text: string, member = 'value'): ValueForm {
  if (text.length > MAX_LENGTH) throw invalidMeter(member, `is longer than ${MAX_LENGTH} characters: shorten it`)
  const reading: Reading = { tokens: tokensOf(text, member), next: 0, member }
  const form = readSum(reading)
  const rest = peek(reading)
  if (rest.kind !== 'end') throw fault(reading, rest, `put an operator before ${shown(rest)}`)
  if (form[0].length === 0) throw invalidMeter(member, 'is 0 for every event: name a property of data')
  return form
}

/** Text that parses to the same form. */
export function printValue([numerator, denominator]: ValueForm): string {
  if (denominator.length === 0) return printed(numerator)
  return `(${printed(numerator)}) / (${printed(denominator)})`
}

function printed(polynomial: Polynomial): string {
  const text = polynomial.map(([coefficient, paths]: Term) => {
    const negative = coefficient.startsWith('-')
    const digits = negative ? coefficient.slice(1) : coefficient
    const factors = [...(digits === '1' && paths.length > 0 ? [] : [digits]), ...paths.map((path) => path.join('.'))]
    return `${negative ? ' - ' : ' + '}${factors.join(' * ')}`
  })
  // There is no sign in front of a number.
  return text.join('').replace(/^ \+ /, '').replace(/^ - /, '0 - ')
}

function readSum(reading: Reading): ValueForm {
  let left = readProduct(reading)
  for (let sign = takeSign(reading, '+-'); sign; sign = takeSign(reading, '+-')) {
    const right = readProduct(reading)
    left = bounded(reading, sign, () => sumOf(left, sign?.text === '-' ? [negate(right[0]), right[1]] : right))
  }
  return left
}

function readProduct(reading: Reading): ValueForm {
  let left = readFactor(reading)
  for (let sign = takeSign(reading, '*/'); sign; sign = takeSign(reading, '*/')) {
    const at = peek(reading)
    const right = readFactor(reading)
    if (sign.text === '/' && right[0].length === 0) throw fault(reading, at, 'it divides by 0')
    const other: ValueForm = sign.text === '*' ? right : [orOne(right[1]), right[0]]
    left = bounded(reading, sign, () => productOf(left, other))
  }
  return left
}

function readFactor(reading: Reading): ValueForm {
  const token = peek(reading)
  reading.next++
  if (token.kind === 'number') {
    if (!isQuantityText(token.text))
      throw fault(reading, token, `write ${shown(token)} with at most 26 digits before and 12 after the point`)
    return [constant(token.text), []]
  }
  if (token.kind === 'path') return [property(pathOf(reading, token)), []]
  if (token.text !== '(') throw fault(reading, token, `put a number, a property or ( before ${shown(token)}`)
  const inner = readSum(reading)
  if (!takeSign(reading, ')')) throw fault(reading, peek(reading), `close the ( of position ${token.at + 1}`)
  return inner
}

function pathOf(reading: Reading, token: Token): Path {
  const keys = token.text.replace(/^\$\./, '').split('.')
  if (keys.length > MAX_DEPTH) throw fault(reading, token, `${shown(token)} is more than ${MAX_DEPTH} keys deep`)
  if (!keys.every((key) => KEY.test(key)))
    throw fault(reading, token, `${shown(token)} is no dotted path inside data: keys are letters, digits, _ and -`)
  return keys
}

function sumOf([a, b]: ValueForm, [c, d]: ValueForm): ValueForm {
  if (samePolynomial(b, d)) return quotient(add(a, c), b)
  return quotient(add(multiply(a, orOne(d)), multiply(c, orOne(b))), multiply(orOne(b), orOne(d)))
}

function productOf([a, b]: ValueForm, [c, d]: ValueForm): ValueForm {
  return quotient(multiply(a, c), multiply(orOne(b), orOne(d)))
}

/** A denominator that is empty is 1; a numerator that is empty is 0. */
function orOne(denominator: Polynomial): Polynomial {
  return denominator.length === 0 ? ONE : denominator
}

function quotient(numerator: Polynomial, denominator: Polynomial): ValueForm {
  return [numerator, samePolynomial(denominator, ONE) ? [] : denominator]
}

function tokensOf(text: string, member: string): Token[] {
  const tokens: Token[] = []
  TOKEN.lastIndex = 0
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex
    const groups = TOKEN.exec(text)?.groups
    if (!groups) {
      const character = JSON.stringify(String.fromCodePoint(text.codePointAt(at) ?? 0))
      throw invalidMeter(member, `position ${at + 1}: ${character} is not part of an expression; ${WHAT_IS}`)
    }
    if (groups.number !== undefined) tokens.push({ kind: 'number', text: groups.number, at })
    if (groups.path !== undefined) tokens.push({ kind: 'path', text: groups.path, at })
    if (groups.sign !== undefined) tokens.push({ kind: 'sign', text: groups.sign, at })
  }
  return [...tokens, { kind: 'end', text: '', at: text.length }]
}
const WHAT_IS = 'write decimals, dotted paths inside data, + - * / and parentheses'

function peek({ tokens, next }: Reading): Token {
  return tokens[Math.min(next, tokens.length - 1)] as Token
}

function takeSign(reading: Reading, signs: string): Token | undefined {
  const token = peek(reading)
  if (token.kind !== 'sign' || !signs.includes(token.text)) return undefined
  reading.next++
  return token
}

function bounded(reading: Reading, sign: Token, compute: () => ValueForm): ValueForm {
  try {
    return compute()
  } catch (error) {
    if (error instanceof OutOfBounds) throw fault(reading, sign, `the expression ${error.message}: make it simpler`)
    throw error
  }
}

function fault({ member }: Reading, { at }: Token, message: string) {
  return invalidMeter(member, `position ${at + 1}: ${message}`)
}

function shown({ kind, text }: Token): string {
  return kind === 'end' ? 'the end' : `"${text.length > 40 ? `${text.slice(0, 40)}…` : text}"`
}
