/** What is wrong with a quoted case: the path of a field, as in `price.tiers.0.up_to`, and what to do. */
export class BadCase extends Error {
  readonly field: string
  constructor(field: string, message: string) {
    super(message)
    this.name = 'BadCase'
    this.field = field
  }
}

/** To be thrown; the case then answers with it, and the cases after it go on. */
export function badCase(field: string, message: string): BadCase {
  return new BadCase(field, message)
}
