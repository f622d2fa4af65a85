import { parseQuantity, tryQuantityFromJson } from '../../schemas/quantity.ts'

/** A decimal text as the JSON number that is exactly it; beyond what a double holds exactly (15 digits) it stays a text. */
export function exactNumber(text: string): number | string {
  const number = Number(text)
  return tryQuantityFromJson(number)?.equals(parseQuantity(text)) ? number : text
}
