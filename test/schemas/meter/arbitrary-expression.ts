import fc from 'fast-check'

/** An expression as it is written, before anything is multiplied out. */
export type Tree = string | { op: '+' | '-' | '*' | '/'; left: Tree; right: Tree }

/** Paths begin with a letter; everything else is a number. */
const leaf = fc.constantFrom('a', 'b', 'c', 'd.e', '1', '2', '3', '7', '0.5', '1.25')
export const tree: fc.Arbitrary<Tree> = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    fc.record({ op: fc.constantFrom('+', '-', '*', '/'), left: tie('tree'), right: tie('tree') }),
  ),
})).tree

export function printTree(one: Tree): string {
  return typeof one === 'string' ? one : `(${printTree(one.left)} ${one.op} ${printTree(one.right)})`
}

/** An exact fraction; the denominator is above 0. */
export type Rational = { n: bigint; d: bigint }

/** As a pupil would compute it; undefined where something is divided by 0. */
export function valueOfTree(one: Tree, properties: Readonly<Record<string, bigint>>): Rational | undefined {
  if (typeof one === 'string') {
    const property = properties[one]
    if (property !== undefined) return { n: property, d: 1n }
    const [whole = '', fraction = ''] = one.split('.')
    return { n: BigInt(whole + fraction), d: 10n ** BigInt(fraction.length) }
  }
  const left = valueOfTree(one.left, properties)
  const right = valueOfTree(one.right, properties)
  if (!left || !right) return undefined
  if (one.op === '+') return { n: left.n * right.d + right.n * left.d, d: left.d * right.d }
  if (one.op === '-') return { n: left.n * right.d - right.n * left.d, d: left.d * right.d }
  if (one.op === '*') return { n: left.n * right.n, d: left.d * right.d }
  if (right.n === 0n) return undefined
  const sign = right.n < 0n ? -1n : 1n
  return { n: left.n * right.d * sign, d: left.d * right.n * sign }
}
