import { resolve } from 'node:path'
import { type Clock, systemClock } from './clock.ts'
import { closeFile, makeFolder, openSegment, readFrom, recover, settle, writePending } from './spool-files.ts'
import { HEADER_BYTES } from './spool-frames.ts'
import { lockFolder } from './spool-lock.ts'
import type { Spool } from './waiting-line.ts'

export type SpoolOptions = {
  /** Of this process alone, on a disk that stays. */
  folder: string
  /** Of all files together; beyond it events are refused (onFull). */
  maxBytes?: number
  /** What waits to be written, when the disk cannot keep up. */
  maxPendingBytes?: number
  /** A file is deleted when all its events were answered for. No more than a quarter of maxBytes. */
  segmentBytes?: number
  /** Events of so long are written and synced together. */
  syncEveryMs?: number
  clock?: Clock
}
export type OpenSpool = Spool & {
  /** `errors`: writes that failed and will be tried again; `cutBytes`: unreadable ends of files found at the start. */
  stats: () => { bytes: number; files: number; errors: number; cutBytes: number; latestError: string | undefined }
}

const RETRY_MS = 1_000

/**
 * Keeps events in files until the server answered for them. Opened by another process after a kill -9, it has every event
 * that a `flush()` had called durable; those answered for shortly before are sent again under the same ids.
 */
export async function openSpool(options: SpoolOptions): Promise<OpenSpool> {
  const { maxBytes = 268_435_456, maxPendingBytes = 16_777_216 } = options
  const { syncEveryMs = 20, clock = systemClock } = options
  const segmentBytes = Math.max(1, Math.min(options.segmentBytes ?? 1_048_576, maxBytes / 4))
  const folder = resolve(options.folder)
  await makeFolder(folder)
  const unlock = await lockFolder(folder)
  const state = await recover(folder).catch(async (error: unknown) => {
    await unlock()
    throw error
  })
  const recovered = state.pending.first
  let writing: Promise<void> | undefined
  let scheduled = false
  let closed = false
  let notBeforeMs = 0
  let errors = 0
  let latestError: string | undefined

  const failed = (error: unknown) => {
    errors++
    latestError = String(error)
    notBeforeMs = clock.monotonicMs() + RETRY_MS
  }
  const written = () => state.pending.first
  const nextSeq = () => state.pending.first + state.pending.texts.length
  const writeOnce = () => {
    writing ??= writePending(state, segmentBytes)
      .catch((error: unknown) => {
        failed(error)
        throw error
      })
      .finally(() => {
        writing = undefined
      })
    return writing
  }
  const sync = async () => {
    const target = nextSeq()
    while (written() < target) await writeOnce()
  }
  const schedule = () => {
    if (scheduled) return
    scheduled = true
    clock.after(Math.max(syncEveryMs, notBeforeMs - clock.monotonicMs()), () => {
      scheduled = false
      // Once it is closed the folder is another's.
      if (closed) return
      if (clock.monotonicMs() < notBeforeMs) schedule()
      else sync().catch(schedule)
    })
  }
  /** The file that is written to may hold nothing but what was answered for. */
  const makeRoom = () => {
    if (!writing && openSegment(state)?.unsettled === 0) closeFile(state).catch(failed)
  }

  return {
    get nextSeq() {
      return nextSeq()
    },
    recovered,
    append: (text) => {
      const bytes = text.length + HEADER_BYTES
      const pendingBytes = state.pending.bytes + bytes
      if (state.bytes + pendingBytes > maxBytes) makeRoom()
      if (pendingBytes > maxPendingBytes || state.bytes + pendingBytes > maxBytes) return undefined
      state.pending.texts.push(text)
      state.pending.bytes += bytes
      schedule()
      return nextSeq() - 1
    },
    settle: (seq) => settle(state, seq),
    sync,
    readFrom: (seq) => readFrom(state, seq),
    durable: () => state.durable,
    close: async () => {
      await sync().catch(() => undefined)
      closed = true
      await closeFile(state).finally(unlock)
    },
    stats: () => ({ bytes: state.bytes, files: state.segments.length, errors, cutBytes: state.cutBytes, latestError }),
  }
}
