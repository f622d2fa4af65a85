import { formatQuantity, isQuantityText, parseQuantity, type Quantity } from '../quantity.ts'
import type { Path } from './path.ts'

/** A product: a decimal text and the properties it is multiplied with, one after the other. */
export type Term = readonly [coefficient: string, paths: readonly Path[]]
/** A sum of terms, like ones added up, in the order of their paths: equal polynomials are written alike. */
export type Polynomial = readonly Term[]
/** A value in its normal form: a quotient; an empty denominator is 1. */
export type ValueForm = readonly [numerator: Polynomial, denominator: Polynomial]

export const MAX_TERMS = 64
export const MAX_DEGREE = 4

/** What cannot be computed within bounds. An Error must be a class to carry a stack. */
export class OutOfBounds extends Error {}

export function constant(text: string): Polynomial {
  return collect([[parseQuantity(text), []]])
}

export function property(path: Path): Polynomial {
  return [['1', [path]]]
}

export function add(a: Polynomial, b: Polynomial): Polynomial {
  return collect([...a, ...b].map(([coefficient, paths]) => [parseQuantity(coefficient), paths]))
}

export function negate(a: Polynomial): Polynomial {
  return a.map(([coefficient, paths]) => [formatQuantity(parseQuantity(coefficient).negated()), paths])
}

export function multiply(a: Polynomial, b: Polynomial): Polynomial {
  return collect(
    a.flatMap(([left, leftPaths]) =>
      b.map(
        ([right, rightPaths]): Product => [
          parseQuantity(left).times(parseQuantity(right)),
          [...leftPaths, ...rightPaths],
        ],
      ),
    ),
  )
}

export function samePolynomial(a: Polynomial, b: Polynomial): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

type Product = [coefficient: Quantity, paths: readonly Path[]]

function collect(products: readonly Product[]): Polynomial {
  const sums = new Map<string, Product>()
  for (const [coefficient, unsorted] of products) {
    const paths = unsorted
      .map((path): [string, Path] => [path.join('.'), path])
      .sort(byText)
      .map(([, path]) => path)
    const key = paths.map((path) => path.join('.')).join('*')
    sums.set(key, [coefficient.plus(sums.get(key)?.[0] ?? 0), paths])
  }
  const terms = [...sums].filter(([, [coefficient]]) => !coefficient.isZero()).sort(byText)
  if (terms.length > MAX_TERMS) throw new OutOfBounds(`has more than ${MAX_TERMS} terms when multiplied out`)
  return terms.map(([, [coefficient, paths]]) => {
    if (paths.length > MAX_DEGREE) throw new OutOfBounds(`multiplies more than ${MAX_DEGREE} properties`)
    const text = formatQuantity(coefficient)
    if (!isQuantityText(text))
      throw new OutOfBounds('has a factor of more than 26 digits before or 12 after the point when multiplied out')
    return [text, paths]
  })
}

function byText([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : Number(a > b)
}
