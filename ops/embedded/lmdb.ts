import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { uptime } from 'node:os'
import { join } from 'node:path'
import type { Database, RootDatabase } from 'lmdb'
import { type EmbeddedLogKey, LOG_ID_KEY } from '../../schemas/event/embedded-log.ts'

export type EmbeddedLmdb = {
  /** The event log: keys [partition, offset], binary values. */
  log: Database<Buffer, EmbeddedLogKey>
  /** Names this log: progress in one log is never mistaken for progress in another. */
  logId: string
  /** Quota counters. */
  quota: Database<string, string>
  close(): Promise<void>
}

/** The log may grow this far on disk; LMDB reserves address space, not disk. */
const MAP_SIZE_BYTES = 256 * 1024 ** 3

/** A file beside the log: its commits are flushed before they are seen. */
const FLUSHED_IN_COMMIT = 'flushed-in-commit'
/** Differs at each opening. */
const OPENED_KEY = 'opened'

/**
 * Opens the log, and beside it the quota counters. The log is flushed at every commit. The counters are not: they
 * survive kill -9, but after the machine went down they may be damaged, and are thrown away (they load from usage).
 */
export async function openLmdb(logFolder: string, quotaFolder: string): Promise<EmbeddedLmdb> {
  const { open } = await import('lmdb').catch((cause: unknown) => {
    throw new Error(
      'The embedded event log (lmdb) is not installed. Run "npm ci" without --omit=optional, or set KAFKA_BROKERS and REDIS_URL.',
      { cause },
    )
  })
  mkdirSync(logFolder, { recursive: true, mode: 0o700 })
  const openLog = (overlappingSync: boolean): RootDatabase =>
    open({ path: logFolder, mapSize: MAP_SIZE_BYTES, maxDbs: 4, compression: false, overlappingSync })
  const openMeta = (log: RootDatabase) => log.openDB<string, string>({ name: 'meta', encoding: 'string' })
  const marker = join(logFolder, FLUSHED_IN_COMMIT)
  if (existsSync(join(logFolder, 'data.mdb')) && !existsSync(marker)) {
    // Written by a version that flushed beside the commit: only opened that way does lmdb find what was flushed last.
    const before = openLog(true)
    await openMeta(before).put(OPENED_KEY, randomUUID())
    await before.flushed
    await before.close()
  }
  writeFileSync(marker, '')
  // Flushed in the commit, not beside it: a commit that fails on a full disk would leave `flushed` waiting for ever.
  const root = openLog(false)
  const meta = openMeta(root)
  // What a process left that was killed is on disk with this commit, before anybody reads it.
  await meta.put(OPENED_KEY, randomUUID())
  const log = root.openDB<Buffer, EmbeddedLogKey>({ name: 'log', encoding: 'binary' })
  forgetAfterReboot(quotaFolder)
  const quota = open<string, string>({ path: quotaFolder, encoding: 'string', noSync: true, compression: false })
  let logId = meta.get(LOG_ID_KEY)
  if (!logId) {
    logId = randomUUID()
    await meta.put(LOG_ID_KEY, logId)
    await root.flushed
  }
  const close = async () => {
    await quota.close()
    await root.close()
  }
  return { log, logId, quota, close }
}

/** Removes the folder unless it was made since the machine started. */
function forgetAfterReboot(folder: string): void {
  const bootFile = join(folder, 'booted-at')
  const bootedAtS = Math.round(Date.now() / 1_000 - uptime())
  // The clock may be adjusted by a few seconds between two looks; a reboot takes longer.
  const before = existsSync(bootFile) ? Number(readFileSync(bootFile, 'utf8')) : 0
  // Not "> 10": a file that is damaged reads as no number at all.
  if (!(Math.abs(bootedAtS - before) <= 10)) rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  writeFileSync(bootFile, String(bootedAtS))
}
