import { formatMoney } from '../../../schemas/money.ts'
import type { StoredDraft } from './drafts.postgres.ts'

const COLUMNS = [
  'kind',
  'customer',
  'subscription',
  'period_start',
  'period_end',
  'off_cycle',
  'currency',
  'amount',
  'previous',
  'change',
  'anomalies',
  'reason',
  'issued',
]

/** RFC 4180, with a header. What spreadsheets take for a formula is a text to them. */
export function reviewCsv(drafts: readonly StoredDraft[]): string {
  const rows = drafts.map((draft) => {
    const money = (minor: bigint | null) => (minor === null ? '' : formatMoney(minor, draft.currency))
    const instant = (ms: number | null) => (ms === null ? '' : new Date(ms).toISOString())
    return [
      draft.kind,
      guarded(draft.customer),
      guarded(draft.subscription),
      instant(draft.periodStartMs),
      instant(draft.periodEndMs),
      String(draft.offCycle),
      draft.currency,
      money(draft.amountMinor),
      money(draft.previousMinor),
      money(draft.changeMinor),
      draft.anomalies.join(' '),
      guarded(draft.reason ?? ''),
      money(draft.issuedMinor),
    ]
  })
  return [COLUMNS, ...rows].map((cells) => `${cells.map(quoted).join(',')}\r\n`).join('')
}

function guarded(text: string): string {
  return /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
}

function quoted(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
