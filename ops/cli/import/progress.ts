export type Writable = { write(text: string): unknown }

const BAR_COLUMNS = 32
const LINE_EVERY_MS = 5_000

/** A bar that redraws itself in a terminal; elsewhere a line every few seconds. */
export function createProgress(stderr: Writable, isTty: boolean, now: () => number) {
  let toldMs = now()
  return {
    rows(doneRows: number, totalRows: number): void {
      const text = `${doneRows} of ${totalRows} rows`
      if (isTty) {
        const filled = Math.min(BAR_COLUMNS, Math.floor((BAR_COLUMNS * doneRows) / Math.max(totalRows, 1)))
        stderr.write(`\r[${'#'.repeat(filled)}${'.'.repeat(BAR_COLUMNS - filled)}] ${text}`)
      } else if (now() - toldMs >= LINE_EVERY_MS) {
        toldMs = now()
        stderr.write(`import: ${text}\n`)
      }
    },
    end(): void {
      if (isTty) stderr.write('\n')
    },
  }
}
