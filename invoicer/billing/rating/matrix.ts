import { formatQuantity, parseQuantity, parseSum, type Quantity, ZERO } from '../../../schemas/quantity.ts'
import type { BreakdownEntry, Rated, UsedEvent } from './breakdown.ts'
import type { Cell, MatrixPrice } from './price.ts'

/** The quantity that each cell prices, of those with any event, in their order; null is the default, which comes last. */
export type CellTally = { kind: 'cells'; cells: { cell: number | null; quantity: string }[] }

/** Each event at the price of the first cell that holds for it, else at the default. */
export function rateMatrix(price: MatrixPrice, events: readonly UsedEvent[]): Rated {
  const counting = countCells(price)
  for (const event of events) counting.add(event)
  return rateCells(price, counting.tally())
}

/** `value` is one event's, or the sum of several whose properties are alike: their order and number make no difference. */
export function countCells({ cells }: MatrixPrice): { add: (event: UsedEvent) => void; tally: () => CellTally } {
  // The default comes behind the last cell.
  const quantities = new Map<number, Quantity>()
  return {
    add: ({ value, properties }) => {
      const found = cells.findIndex((cell) => holds(cell, properties ?? {}))
      const index = found < 0 ? cells.length : found
      quantities.set(index, value.plus(quantities.get(index) ?? ZERO))
    },
    tally: () => ({
      kind: 'cells',
      cells: [...quantities]
        .sort(([a], [b]) => a - b)
        .map(([index, quantity]) => ({
          cell: index === cells.length ? null : index + 1,
          quantity: formatQuantity(quantity),
        })),
    }),
  }
}

export function rateCells(price: MatrixPrice, { cells }: CellTally): Rated {
  let exact = ZERO
  const breakdown = cells.map(({ cell, quantity }): BreakdownEntry => {
    const unitAmount = parseQuantity(
      (cell === null ? undefined : price.cells[cell - 1])?.unit_amount ?? price.default_unit_amount,
    )
    const amount = unitAmount.times(parseSum(quantity))
    exact = exact.plus(amount)
    return { type: 'cell', cell, quantity, unit_amount: formatQuantity(unitAmount), amount: formatQuantity(amount) }
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
