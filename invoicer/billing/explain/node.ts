import { formatQuantity, type Quantity } from '../../../schemas/quantity.ts'

/**
 * One step of a calculation that can be followed with a calculator: `rule` makes `output` of `input`. Numbers are
 * decimal texts. With `parts`, the output is what their outputs come to.
 */
export type ExplainNode = { label: string; input: string; rule: string; output: string; parts: ExplainNode[] }

/** More than any half of a minor unit needs to be told from what lies beside it. */
const SHOWN_PLACES = 40

/** A text that rounds as the amount itself does. */
export function textOf(amount: Quantity): string {
  return formatQuantity(amount.toDecimalPlaces(SHOWN_PLACES))
}

/** Steps behind each other: each takes what the one before it gave. */
export type Chain = { nodes: ExplainNode[]; exact: Quantity; text: string }

export function step(
  chain: Chain,
  node: Pick<ExplainNode, 'label' | 'rule'> & { parts?: ExplainNode[] },
  exact: Quantity,
  text = textOf(exact),
): Chain {
  const { label, rule, parts = [] } = node
  return { nodes: [...chain.nodes, { label, input: chain.text, rule, output: text, parts }], exact, text }
}
