import type { LineToPay } from '../../billing/run/issue-chunk.ts'
import type { OpenCredit } from './credit.ts'
import type { CreditScope } from './terms.ts'

/** Lines that the same grants may pay, and what of them nobody pays yet. */
type Group = { freeMinor: bigint }
type Payer = { groups: Group[]; paidMinor: Map<Group, bigint> }
/** That a payer pays for a group, in place of what it paid for the group before it. */
type Move = { payer: Payer; to: Group; before: Move | undefined }

/**
 * What each grant pays of an invoice, in the order of the grants. Each pays as much as it can beside those before it: they
 * keep what they pay, and pay it for lines that it may not pay, where there are such. So no grant lies idle beside lines
 * that it may pay only because one that may pay anything was first, and what all pay together is the most they can.
 *
 * What is below 0 lowers the other lines of its charge and meter; beyond these it lowers the total, which is never
 * exceeded.
 */
export function payLines(
  totalMinor: bigint,
  lines: readonly LineToPay[],
  credits: readonly Pick<OpenCredit, 'remainingMinor' | 'scope'>[],
): bigint[] {
  const payers = payersOf(lines, credits)
  let owedMinor = totalMinor > 0n ? totalMinor : 0n
  return credits.map(({ remainingMinor }, place) => {
    const payer = payers[place]
    if (payer === undefined) return 0n
    const wantedMinor = remainingMinor < owedMinor ? remainingMinor : owedMinor
    let leftMinor = wantedMinor
    while (leftMinor > 0n) {
      const movedMinor = payMore(payer, leftMinor, payers)
      if (movedMinor === 0n) break
      leftMinor -= movedMinor
    }
    owedMinor -= wantedMinor - leftMinor
    return wantedMinor - leftMinor
  })
}

/** Whether credit of this scope may pay a line. A one-time item may have the key of a charge, and is none. */
function covers(scope: CreditScope | null, { meter, chargeKey, breakdown }: LineToPay): boolean {
  if (scope === null) return true
  if (meter !== null && scope.meters.includes(meter)) return true
  return scope.charges.includes(chargeKey) && breakdown[0]?.type !== 'one_time'
}

function payersOf(lines: readonly LineToPay[], credits: readonly Pick<OpenCredit, 'scope'>[]): Payer[] {
  const payers = credits.map((): Payer => ({ groups: [], paidMinor: new Map() }))
  const groups = new Map<string, Group>()
  for (const { line, amountMinor } of byCharge(lines)) {
    if (amountMinor <= 0n) continue
    const may = credits.map(({ scope }) => covers(scope, line))
    const signature = may.map(Number).join('')
    const known = groups.get(signature)
    if (known !== undefined) {
      known.freeMinor += amountMinor
      continue
    }
    const group = { freeMinor: amountMinor }
    groups.set(signature, group)
    for (const [place, payer] of payers.entries()) if (may[place]) payer.groups.push(group)
  }
  return payers
}

/** What the lines of each charge come to, with the tax on top of them and less their discounts. */
function byCharge(lines: readonly LineToPay[]): { line: LineToPay; amountMinor: bigint }[] {
  const sums = new Map<string, { line: LineToPay; amountMinor: bigint }>()
  for (const each of lines) {
    const line = (each.discount && lines[each.discount.lowers]) ?? each
    const key = JSON.stringify([line.breakdown[0]?.type === 'one_time', line.chargeKey, line.meter])
    const sum = sums.get(key) ?? { line, amountMinor: 0n }
    sum.amountMinor += each.amountMinor + (each.tax && !each.tax.inclusive ? each.tax.amountMinor : 0n)
    sums.set(key, sum)
  }
  return [...sums.values()]
}

/** Pays up to so much more by the shortest chain of moves that ends where something is free; answers how much. */
function payMore(payer: Payer, wantedMinor: bigint, payers: readonly Payer[]): bigint {
  const last = chainToFree(payer, payers)
  if (last === undefined) return 0n
  let amountMinor = last.to.freeMinor < wantedMinor ? last.to.freeMinor : wantedMinor
  for (let move: Move | undefined = last; move?.before; move = move.before) {
    const heldMinor = move.payer.paidMinor.get(move.before.to) ?? 0n
    if (heldMinor < amountMinor) amountMinor = heldMinor
  }
  last.to.freeMinor -= amountMinor
  for (let move: Move | undefined = last; move; move = move.before) {
    add(move.payer, move.to, amountMinor)
    if (move.before) add(move.payer, move.before.to, -amountMinor)
  }
  return amountMinor
}

function chainToFree(payer: Payer, payers: readonly Payer[]): Move | undefined {
  const seen = new Set<Group>()
  const queue = payer.groups.map((to): Move => ({ payer, to, before: undefined }))
  for (const move of queue) {
    if (seen.has(move.to)) continue
    seen.add(move.to)
    if (move.to.freeMinor > 0n) return move
    for (const other of payers) {
      if ((other.paidMinor.get(move.to) ?? 0n) === 0n) continue
      for (const to of other.groups) queue.push({ payer: other, to, before: move })
    }
  }
  return undefined
}

function add(payer: Payer, group: Group, amountMinor: bigint): void {
  payer.paidMinor.set(group, (payer.paidMinor.get(group) ?? 0n) + amountMinor)
}
