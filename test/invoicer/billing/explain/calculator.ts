/** A fraction of whole numbers, below which nothing is lost. */
type Fraction = { above: bigint; below: bigint }

/** What a person types into a calculator: decimals, × ÷ + and -, products first. Undefined for what is no such text. */
export function typed(rule: string): Fraction | undefined {
  const tokens = rule.split(' ')
  if (!tokens.every((token, place) => (place % 2 === 0 ? isDecimal(token) : '×÷+-'.includes(token)))) return undefined
  if (tokens.length % 2 === 0) return undefined
  let sum: Fraction = { above: 0n, below: 1n }
  let product = fraction(tokens[0]!)
  let sign = 1n
  for (let place = 1; place < tokens.length; place += 2) {
    const [sort, next] = [tokens[place]!, fraction(tokens[place + 1]!)]
    if (sort === '×') product = { above: product.above * next.above, below: product.below * next.below }
    else if (sort === '÷') product = { above: product.above * next.below, below: product.below * next.above }
    else {
      sum = plus(sum, product, sign)
      sign = sort === '+' ? 1n : -1n
      product = next
    }
  }
  return plus(sum, product, sign)
}

/** In units of the last of so many places, halves away from zero. */
export function toPlaces({ above, below }: Fraction, places: number): bigint {
  const [size, unit] = [above < 0n ? -above : above, below < 0n ? -below : below]
  const steps = (2n * size * 10n ** BigInt(places) + unit) / (2n * unit)
  return above < 0n === below < 0n ? steps : -steps
}

export function fraction(text: string): Fraction {
  const [whole = '', places = ''] = text.split('.')
  return { above: BigInt(whole + places), below: 10n ** BigInt(places.length) }
}

export function sumOf(texts: readonly string[]): Fraction {
  return texts.map(fraction).reduce((sum, one) => plus(sum, one, 1n), { above: 0n, below: 1n })
}

function plus(a: Fraction, b: Fraction, sign: bigint): Fraction {
  return { above: a.above * b.below + sign * b.above * a.below, below: a.below * b.below }
}

function isDecimal(text: string): boolean {
  return /^-?\d+(\.\d+)?$/.test(text)
}
