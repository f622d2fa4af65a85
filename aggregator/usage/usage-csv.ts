import type { UsageAnswer } from './query-usage.ts'

/** A line for each window (RFC 4180): the dimensions asked for stand between its end and its quantity. */
export function usageCsv(answers: readonly UsageAnswer[]): string {
  const windows = answers.flatMap(({ meter, windows }) => windows.map((window) => ({ meter, ...window })))
  const bySubject = windows.some((window) => window.subject !== undefined)
  const groups = [...new Set(windows.flatMap((window) => Object.keys(window.group ?? {})))]
  const lines = windows.map((window) => [
    ...[window.meter, window.start, window.end],
    ...(bySubject ? [window.subject ?? ''] : []),
    ...groups.map((name) => window.group?.[name] ?? ''),
    ...[window.quantity, String(window.events)],
  ])
  const head = ['meter', 'start', 'end', ...(bySubject ? ['subject'] : []), ...groups, 'quantity', 'events']
  return [head, ...lines].map((line) => `${line.map(quoted).join(',')}\r\n`).join('')
}

function quoted(text: string): string {
  return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
