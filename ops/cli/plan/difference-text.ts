import { isNothing, type PlanDifference } from './difference.ts'

/** The differences as one reads them, a plan a paragraph. */
export function differencesText(differences: readonly PlanDifference[], effectiveFromMs: number | undefined): string {
  return differences.map((difference) => `${paragraph(difference, effectiveFromMs).join('\n')}\n`).join('')
}

function paragraph(difference: PlanDifference, effectiveFromMs: number | undefined): string[] {
  const { plan, version, lines, entitlements, refused } = difference
  const sign = isNothing(difference) ? ' ' : version === 1 ? '+' : '~'
  const changes = entitlements.flatMap(({ feature, before, after }) => [
    ...(before === undefined ? [] : [`      - ${feature}: ${JSON.stringify(before)}`]),
    ...(after === undefined ? [] : [`      + ${feature}: ${JSON.stringify(after)}`]),
  ])
  return [
    `${sign} plan ${JSON.stringify(plan.key)}: ${headOf(difference, effectiveFromMs)}`,
    ...lines.map((line) => `      ${line}`),
    ...(changes.length === 0 ? [] : ['    entitlements, at once for everybody on it:', ...changes]),
    ...refused.map((reason) => `  ! refused: ${reason}`),
  ]
}

function headOf({ version, scheduledMs, entitlements }: PlanDifference, effectiveFromMs: number | undefined): string {
  if (version === null) {
    const since = scheduledMs === null ? '' : `, from ${new Date(scheduledMs).toISOString()}`
    return `as it is${since}${entitlements.length === 0 ? '' : ', but for its entitlements'}`
  }
  if (version === 1) {
    return effectiveFromMs === undefined ? 'new' : 'new, from always; --effective-from does not apply to it'
  }
  const since =
    effectiveFromMs === undefined ? 'the minute in which it is stored' : new Date(effectiveFromMs).toISOString()
  return `version ${version}, from ${since}:
    for subscriptions and changes made after it that begin from then on; those of today stay on theirs`
}
