import { formatQuantity, parseSum } from '../../../schemas/quantity.ts'
import type { LineBreakdown } from '../lines.ts'
import type { BoundEntry, BreakdownEntry } from '../rating/breakdown.ts'
import type { ExplainNode } from './node.ts'

/** What a model made of a quantity. */
export type ModelEntry = Exclude<BreakdownEntry, BoundEntry>

const MODEL_TYPES: ReadonlySet<string> = new Set<ModelEntry['type']>([
  'flat',
  'included',
  'per_unit',
  'tier',
  'package',
  'free',
  'percentage',
  'fixed',
  'per_event_minimum',
  'per_event_maximum',
  'dynamic',
  'cell',
])

export function isModelEntry(entry: LineBreakdown[number]): entry is ModelEntry {
  return MODEL_TYPES.has(entry.type)
}

/** What one part of a price came to: `rule` is what to type into a calculator, where there is something to type. */
export function pricePart(entry: ModelEntry): ExplainNode {
  const { label, input, rule } = told(entry)
  return { label, input, rule, output: entry.amount, parts: [] }
}

type Told = Pick<ExplainNode, 'label' | 'input' | 'rule'>

function told(entry: ModelEntry): Told {
  switch (entry.type) {
    case 'flat':
      return { label: 'Fixed amount', input: '1', rule: `1 × ${entry.amount}` }
    case 'included':
      return { label: 'Included units', input: entry.quantity, rule: `${entry.quantity} × 0` }
    case 'per_unit':
      return { label: 'Per unit', input: entry.quantity, rule: `${entry.quantity} × ${entry.unit_amount}` }
    case 'tier':
      return tier(entry)
    case 'package':
      return packages(entry)
    case 'free':
      return { label: 'Free events', input: entry.quantity, rule: `${entry.quantity} × 0` }
    case 'percentage':
      return { label: 'Percentage', input: entry.quantity, rule: `${entry.quantity} × ${entry.rate} ÷ 100` }
    case 'fixed':
      return { label: 'Per event', input: String(entry.events), rule: `${entry.events} × ${entry.fixed_amount}` }
    case 'per_event_minimum':
      return { label: 'Least per event', input: entry.min_per_event, rule: 'what single events lack to it, added up' }
    case 'per_event_maximum':
      return { label: 'Most per event', input: entry.max_per_event, rule: 'what single events exceed it, taken off' }
    case 'dynamic':
      return { label: 'Metered amount', input: entry.quantity, rule: `${entry.quantity} × ${entry.multiplier}` }
    case 'cell':
      return {
        label: entry.cell === null ? 'Default price' : `Cell ${entry.cell}`,
        input: entry.quantity,
        rule: `${entry.quantity} × ${entry.unit_amount}`,
      }
  }
}

function tier(entry: Extract<ModelEntry, { type: 'tier' }>): Told {
  const { quantity, flat_amount: flat } = entry
  const price = 'rate' in entry ? `${entry.rate} ÷ 100` : entry.unit_amount
  const label = `Tier ${entry.tier}${entry.up_to === null ? '' : ` (up to ${entry.up_to})`}`
  return { label, input: quantity, rule: `${quantity} × ${price}${flat === '0' ? '' : ` + ${flat}`}` }
}

/** The price of a package is what all of them cost, divided; nobody needs it where there is none. */
function packages(entry: Extract<ModelEntry, { type: 'package' }>): Told {
  const each = entry.packages === '0' ? '0' : formatQuantity(parseSum(entry.amount).div(parseSum(entry.packages)))
  return {
    label: `Packages of ${entry.package_size}`,
    input: entry.quantity,
    rule: `${entry.packages} × ${each}`,
  }
}
