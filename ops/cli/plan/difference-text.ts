import { isNothing, type PlanDifference } from './difference.ts'
import type { EntryDifference } from './entry.ts'

/** The differences of plans as one reads them, a plan a paragraph. */
export function differencesText(differences: readonly PlanDifference[], effectiveFromMs: number | undefined): string {
  return differences.map((difference) => `${paragraph(difference, effectiveFromMs).join('\n')}\n`).join('')
}

/** The same of products and coupons. */
export function entriesText(differences: readonly EntryDifference[]): string {
  return differences.map((difference) => `${entryParagraph(difference).join('\n')}\n`).join('')
}

function entryParagraph({ kind, key, isNew, lines, refused }: EntryDifference): string[] {
  const sign = isNew ? '+' : lines.length === 0 ? ' ' : '~'
  const head = isNew ? 'new' : lines.length === 0 ? 'as it is' : 'changed, at once'
  return [
    `${sign} ${kind} ${JSON.stringify(key)}: ${head}`,
    ...lines.map((line) => `      ${line}`),
    ...refused.map((reason) => `  ! refused: ${reason}`),
  ]
}

function paragraph(difference: PlanDifference, effectiveFromMs: number | undefined): string[] {
  const { plan, version, lines, entitlements, listingLines, refused } = difference
  const sign = isNothing(difference) ? ' ' : version === 1 ? '+' : '~'
  const changes = entitlements.flatMap(({ feature, before, after }) => [
    ...(before === undefined ? [] : [`      - ${feature}: ${JSON.stringify(before)}`]),
    ...(after === undefined ? [] : [`      + ${feature}: ${JSON.stringify(after)}`]),
  ])
  return [
    `${sign} plan ${JSON.stringify(plan.key)}: ${headOf(difference, effectiveFromMs)}`,
    ...lines.map((line) => `      ${line}`),
    ...(changes.length === 0 ? [] : ['    entitlements, at once for everybody on it:', ...changes]),
    ...(listingLines.length === 0 ? [] : ['    its place in the catalogue, at once for all versions:']),
    ...listingLines.map((line) => `      ${line}`),
    ...refused.map((reason) => `  ! refused: ${reason}`),
  ]
}

function headOf(
  { version, scheduledMs, entitlements, listingLines }: PlanDifference,
  effectiveFromMs: number | undefined,
): string {
  if (version === null) {
    const since = scheduledMs === null ? '' : `, from ${new Date(scheduledMs).toISOString()}`
    const but = [
      ...(entitlements.length === 0 ? [] : ['its entitlements']),
      ...(listingLines.length === 0 ? [] : ['its place in the catalogue']),
    ]
    return `as it is${since}${but.length === 0 ? '' : `, but for ${but.join(' and ')}`}`
  }
  if (version === 1) {
    return effectiveFromMs === undefined ? 'new' : 'new, from always; --effective-from does not apply to it'
  }
  const since =
    effectiveFromMs === undefined ? 'the minute in which it is stored' : new Date(effectiveFromMs).toISOString()
  return `version ${version}, from ${since}:
    for subscriptions and changes made after it that begin from then on; those of today stay on theirs`
}
