/** Quantities in the process are whole millionths of the unit, as on the server's counters. */
const MICRO = 1_000_000
/** Beyond it a number has no room for millionths. */
const LARGEST = 9_000_000_000
const DECIMAL = /^(\d{1,10})(?:\.(\d+))?$/

/** Rounded up, as the server does. Throws a RangeError for what is no quantity. */
export function microOf(quantity: number): number {
  if (!(quantity >= 0 && quantity <= LARGEST)) throw new RangeError(`quantity must lie in 0…${LARGEST}: ${quantity}`)
  const micro = quantity * MICRO
  // A product such as 1.1 × 10⁶ ends in dust that is no millionth.
  return Number.isInteger(micro) ? micro : Math.ceil(micro - 0.001)
}

export function decimalOf(micro: number): string {
  const fraction = String(micro % MICRO)
    .padStart(6, '0')
    .replace(/0+$/, '')
  return `${Math.floor(micro / MICRO)}${fraction === '' ? '' : `.${fraction}`}`
}

/** Rounded down; undefined when it is no decimal. More than LARGEST is as good as LARGEST. */
export function microOfDecimal(text: unknown): number | undefined {
  if (typeof text !== 'string') return undefined
  const [, whole = '', fraction = ''] = DECIMAL.exec(text) ?? []
  if (whole === '') return /^\d+(\.\d+)?$/.test(text) ? LARGEST * MICRO : undefined
  return Math.min(LARGEST * MICRO, Number(whole) * MICRO + Number(fraction.slice(0, 6).padEnd(6, '0')))
}
