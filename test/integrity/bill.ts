/** What the test's plan costs, worked out in whole micro-dollars: no product code, no floats. */
export type Tokens = { context: bigint; generated: bigint }

const MICROS_PER_CENT = 10_000n
const FIRST_TIER = 100_000n

/** Line amounts in cents: base fee, context at 3 micro-dollars, generated at 15 up to the tier's end and 12 beyond. */
export function billOf({ context, generated }: Tokens): bigint[] {
  const beyond = generated > FIRST_TIER ? generated - FIRST_TIER : 0n
  return [2_000n, cents(context * 3n), cents((generated - beyond) * 15n + beyond * 12n)]
}

export function dollars(amountCents: bigint): string {
  return `${amountCents / 100n}.${String(amountCents % 100n).padStart(2, '0')}`
}

function cents(micros: bigint): bigint {
  return (micros + MICROS_PER_CENT / 2n) / MICROS_PER_CENT
}
