import { type FileHandle, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { HEADER_BYTES, readFrames, writeFrames } from './spool-frames.ts'
import type { Spooled } from './waiting-line.ts'

type Segment = { path: string; first: number; count: number; unsettled: number; bytes: number; damaged: boolean }
/** Appended, but not on disk yet. Those that were answered for meanwhile are in `settled`. */
type Pending = { first: number; texts: string[]; bytes: number; settled: Set<number> }
export type SpoolFiles = {
  folder: string
  segments: Segment[]
  /** The last segment while it is written to. */
  file: FileHandle | undefined
  pending: Pending
  bytes: number
  durable: number
  fileNumber: number
  cutBytes: number
}

const NAME = /^\d{12}\.spool$/
const MOST_READ_PENDING = 1_000

/** A new folder's name must survive as well as what stands in it. */
export async function makeFolder(folder: string): Promise<void> {
  const made = await mkdir(folder, { recursive: true })
  if (made === undefined) return
  for (let at = folder; at.length >= made.length; at = dirname(at)) await syncFolder(dirname(at))
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  await handle.sync().finally(() => handle.close())
}

/** Finds what an earlier process left. Its files are only read: new events go to a new one. */
export async function recover(folder: string): Promise<SpoolFiles> {
  const pending = { first: 0, texts: [], bytes: 0, settled: new Set<number>() }
  const state: SpoolFiles = {
    folder,
    segments: [],
    file: undefined,
    pending,
    bytes: 0,
    durable: 0,
    fileNumber: 0,
    cutBytes: 0,
  }
  for (const name of (await readdir(folder)).filter((each) => NAME.test(each)).sort()) {
    const path = join(folder, name)
    const bytes = await readFile(path)
    const { texts, cutBytes } = readFrames(bytes)
    const count = texts.length
    state.fileNumber = Math.max(state.fileNumber, Number.parseInt(name, 10))
    state.cutBytes += cutBytes
    const damaged = count === 0 && bytes.length > 0
    state.segments.push({ path, first: pending.first, count, unsettled: count, bytes: bytes.length, damaged })
    state.bytes += bytes.length
    state.durable += count
    pending.first += count
  }
  removeSettled(state)
  return state
}

/** Writes what is pending, as much as a segment takes, and syncs it. Only then it counts as durable. */
export async function writePending(state: SpoolFiles, segmentBytes: number): Promise<void> {
  const { pending } = state
  let count = 0
  for (let size = 0; count < pending.texts.length && size < segmentBytes; count++) {
    size += (pending.texts[count]?.length ?? 0) + HEADER_BYTES
  }
  const bytes = writeFrames(pending.texts.slice(0, count))
  if ((openSegment(state)?.bytes ?? 0) >= segmentBytes) await closeFile(state)
  try {
    const file = state.file ?? (await openFile(state))
    await file.appendFile(bytes)
    await file.datasync()
  } catch (error) {
    // Whatever of it was written is a torn end; nothing may follow it, so the next attempt takes a new file.
    await closeFile(state).catch(() => undefined)
    throw error
  }
  const segment = openSegment(state)
  if (!segment) throw new Error('the file was closed while it was written to')
  const seqs = Array.from({ length: count }, (_, index) => pending.first + index)
  const unsettled = seqs.filter((seq) => !pending.settled.delete(seq)).length
  segment.count += count
  segment.unsettled += unsettled
  segment.bytes += bytes.length
  state.bytes += bytes.length
  state.durable += unsettled
  pending.bytes -= pending.texts.slice(0, count).reduce((sum, text) => sum + text.length + HEADER_BYTES, 0)
  pending.texts = pending.texts.slice(count)
  pending.first += count
}

async function openFile(state: SpoolFiles): Promise<FileHandle> {
  const path = join(state.folder, `${String(++state.fileNumber).padStart(12, '0')}.spool`)
  const file = await open(path, 'ax')
  state.file = file
  state.segments.push({ path, first: state.pending.first, count: 0, unsettled: 0, bytes: 0, damaged: false })
  // The name must survive as well as what stands in the file.
  await syncFolder(state.folder)
  return file
}

export function openSegment(state: SpoolFiles): Segment | undefined {
  return state.file ? state.segments.at(-1) : undefined
}

/** Ends the file that is written to. */
export async function closeFile(state: SpoolFiles): Promise<void> {
  const { file } = state
  state.file = undefined
  removeSettled(state)
  await file?.close()
}

export function settle(state: SpoolFiles, seq: number): void {
  if (seq >= state.pending.first) {
    state.pending.settled.add(seq)
    return
  }
  const segment = state.segments.find(({ first, count }) => seq >= first && seq < first + count)
  if (!segment) return
  segment.unsettled--
  state.durable--
  if (segment.unsettled === 0) removeSettled(state)
}

/** A file that cannot be deleted is found at the next start, and its events are sent again. A damaged one is kept. */
function removeSettled(state: SpoolFiles): void {
  const open = openSegment(state)
  const done = state.segments.filter((segment) => segment !== open && segment.unsettled === 0)
  state.segments = state.segments.filter((segment) => !done.includes(segment))
  for (const { path, bytes, damaged } of done) {
    state.bytes -= bytes
    const removed = damaged ? rename(path, `${path}.damaged`) : rm(path, { force: true })
    removed.catch(() => undefined)
  }
}

export async function readFrom({ pending, segments }: SpoolFiles, seq: number): Promise<Spooled[]> {
  if (seq >= pending.first) {
    const from = seq - pending.first
    return pending.texts.slice(from, from + MOST_READ_PENDING).map((text, index) => ({ seq: seq + index, text }))
  }
  const segment = segments.find(({ first, count }) => seq >= first && seq < first + count)
  if (!segment) return []
  // Before the file is read: what is written meanwhile may stand in it in part.
  const { first, count } = segment
  const texts = await textsOf(segment)
  if (texts.length < count) segment.damaged = true
  return Array.from({ length: first + count - seq }, (_, index) => ({
    seq: seq + index,
    text: texts[seq - first + index],
  }))
}

/** A file that is gone has none; one that cannot be read now may be read later. */
async function textsOf({ path }: Segment): Promise<string[]> {
  try {
    return readFrames(await readFile(path)).texts
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return []
    throw error
  }
}
