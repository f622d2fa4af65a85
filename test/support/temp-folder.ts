import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'

export type TempFolder = { path: string; remove(): void }

/** A folder of its own under /tmp, which every user can enter: Postgres as root runs as another user. */
export function tempFolder(): TempFolder {
  const path = mkdtempSync(join('/tmp', 'tallyline-test-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}
