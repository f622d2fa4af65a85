import { createHash } from 'node:crypto'
import { existsSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { appendFile } from 'node:fs/promises'
import { type Static, Type } from 'typebox'
import { Check } from 'typebox/value'

const Totals = Type.Object({
  accepted: Type.Integer(),
  duplicate: Type.Integer(),
  rejected: Type.Integer(),
  quota_exceeded: Type.Integer(),
  broken: Type.Integer(),
})
const StateFile = Type.Object({
  version: Type.Literal(1),
  fingerprint: Type.String(),
  rows_done: Type.Integer(),
  rejected_bytes: Type.Integer(),
  totals: Totals,
})

/** Rows by how they ended. `broken` ones were not sent. */
export type Totals = Static<typeof Totals>

/** How far an import has come: every row up to `rowsDone` has its outcome. */
export type ImportState = {
  rowsDone: () => number
  totals: () => Totals
  /**
   * Order of effects: (1) the refused rows are written, (2) the state that counts them. After a crash between them the
   * next start cuts off what was written too much, and those rows are sent again.
   */
  advance(lastRow: number, totals: Totals, refusedLines: readonly string[]): Promise<void>
  /** The import is at its end: the next one begins anew. */
  finish(): void
}

/** What must be the same for an import to be gone on with. The key itself is kept nowhere. */
export function fingerprintOf(parts: Record<string, string>): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex')
}

/** The state of an import, or undefined when the file is that of another one. */
export function openState(stateFile: string, rejectedFile: string, fingerprint: string): ImportState | undefined {
  const before = readState(stateFile)
  if (before && before.fingerprint !== fingerprint) return undefined
  let rowsDone = before?.rows_done ?? 0
  let rejectedBytes = before?.rejected_bytes ?? 0
  let totals: Totals = before?.totals ?? { accepted: 0, duplicate: 0, rejected: 0, quota_exceeded: 0, broken: 0 }
  // Rows that somebody has taken away are not missed.
  if (!existsSync(rejectedFile)) rejectedBytes = 0
  else if (rejectedBytes === 0) rmSync(rejectedFile)
  else truncateSync(rejectedFile, rejectedBytes)
  return {
    rowsDone: () => rowsDone,
    totals: () => totals,
    advance: async (lastRow, newTotals, refusedLines) => {
      if (refusedLines.length > 0) {
        const text = `${refusedLines.join('\n')}\n`
        await appendFile(rejectedFile, text)
        rejectedBytes += Buffer.byteLength(text)
      }
      rowsDone = lastRow
      totals = newTotals
      const state = { version: 1, fingerprint, rows_done: rowsDone, rejected_bytes: rejectedBytes, totals }
      writeFileSync(`${stateFile}.new`, `${JSON.stringify(state)}\n`)
      renameSync(`${stateFile}.new`, stateFile)
    },
    finish: () => rmSync(stateFile, { force: true }),
  }
}

function readState(stateFile: string): Static<typeof StateFile> | undefined {
  if (!existsSync(stateFile)) return undefined
  const state: unknown = JSON.parse(readFileSync(stateFile, 'utf8'))
  if (Check(StateFile, state)) return state
  throw new Error(`${stateFile} is no state of an import: remove it`)
}
