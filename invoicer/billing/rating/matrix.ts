import { formatQuantity, parseQuantity, ZERO } from '../../../schemas/quantity.ts'
import type { BreakdownEntry, Rated, UsedEvent } from './breakdown.ts'
import type { Cell, MatrixPrice } from './price.ts'

/** Each event at the price of the first cell that holds for it, else at the default. The breakdown sums by cell. */
export function rateMatrix(price: MatrixPrice, events: readonly UsedEvent[]): Rated {
  const { cells } = price
  // The default comes behind the last cell.
  const quantities = [...cells, undefined].map(() => ZERO)
  const used = new Set<number>()
  for (const { value, properties } of events) {
    const found = cells.findIndex((cell) => holds(cell, properties ?? {}))
    const index = found < 0 ? cells.length : found
    quantities[index] = value.plus(quantities[index] ?? ZERO)
    used.add(index)
  }
  let exact = ZERO
  const breakdown = [...used]
    .sort((a, b) => a - b)
    .map((index): BreakdownEntry => {
      const cell = cells[index]
      const quantity = quantities[index] ?? ZERO
      const unitAmount = parseQuantity(cell?.unit_amount ?? price.default_unit_amount)
      const amount = unitAmount.times(quantity)
      exact = exact.plus(amount)
      return {
        type: 'cell',
        cell: cell === undefined ? null : index + 1,
        quantity: formatQuantity(quantity),
        unit_amount: formatQuantity(unitAmount),
        amount: formatQuantity(amount),
      }
    })
  return { exact, breakdown }
}

function holds({ when }: Cell, properties: Readonly<Record<string, unknown>>): boolean {
  return Object.entries(when).every(([name, wanted]) => textOf(properties[name]) === String(wanted))
}

/** Lists, objects and null equal nothing, nor does what is not there or what every object inherits. */
function textOf(value: unknown): string | undefined {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? String(value)
    : undefined
}
