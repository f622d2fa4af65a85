/** Where the demo tells how far it is. Never stdout: that belongs to the result. */
export type Report = { step(text: string): void; progress(doneCount: number, totalCount: number): void }
export type Writable = { write(text: string): unknown }

const BAR_COLUMNS = 32

/** A bar that redraws itself in a terminal; elsewhere a line for each step and each quarter. */
export function createReport(stderr: Writable, isTty: boolean): Report {
  let quarters = 0
  return {
    step(text) {
      quarters = 0
      stderr.write(`demo: ${text}\n`)
    },
    progress(doneCount, totalCount) {
      if (isTty) {
        stderr.write(`\r${bar(doneCount, totalCount)}${doneCount === totalCount ? '\n' : ''}`)
        return
      }
      const reached = Math.floor((4 * doneCount) / totalCount)
      if (reached > quarters) stderr.write(`demo: ${doneCount} of ${totalCount}\n`)
      quarters = reached
    },
  }
}

function bar(doneCount: number, totalCount: number): string {
  const filled = Math.floor((BAR_COLUMNS * doneCount) / totalCount)
  return `[${'#'.repeat(filled)}${'.'.repeat(BAR_COLUMNS - filled)}] ${doneCount} of ${totalCount}`
}
