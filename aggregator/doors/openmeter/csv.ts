import type { MeterRow } from './query-meter.ts'

/** The columns and forms of OpenMeter's CSV: values with six places, times without fractions. */
export function csvOf(
  rows: readonly MeterRow[],
  groupBy: readonly string[],
  displayNames: ReadonlyMap<string, string | null>,
): string {
  const bySubject = groupBy.includes('subject')
  const named = bySubject && displayNames.size > 0
  const names = groupBy.filter((name) => name !== 'subject')
  const head = ['window_start', 'window_end', ...(bySubject ? ['subject'] : [])]
  const lines = rows.map((row) => [
    ...[row.windowStart, row.windowEnd, ...(bySubject ? [row.subject ?? ''] : [])],
    ...(named ? [displayNames.get(row.subject ?? '') ?? ''] : []),
    ...names.map((name) => row.groupBy[name] ?? ''),
    row.value.toFixed(6),
  ])
  const columns = [...head, ...(named ? ['subject_display_name'] : []), ...names, 'value']
  return [columns, ...lines].map((line) => `${line.map(quoted).join(',')}\n`).join('')
}

function quoted(text: string): string {
  return /[",\r\n]|^\s/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
