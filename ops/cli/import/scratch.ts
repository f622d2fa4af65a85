import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const PREFIX = 'tallyline-import-'

/**
 * A folder of this process for the time of the import, in TMPDIR: a path of the user's may have characters that
 * ClickHouse takes for patterns. What killed imports left there is removed.
 */
export function openScratch(): { folder: string; remove(): void } {
  const parent = tmpdir()
  for (const name of readdirSync(parent)) {
    const [, pid] = /^tallyline-import-(\d+)$/.exec(name) ?? []
    if (pid && !isAlive(Number(pid))) rmSync(join(parent, name), { recursive: true, force: true })
  }
  const folder = join(parent, `${PREFIX}${process.pid}`)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

function isAlive(pid: number): boolean {
  if (pid === process.pid) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as { code?: unknown }).code === 'EPERM'
  }
}
