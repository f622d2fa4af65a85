import { randomUUID } from 'node:crypto'
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'

/** A pid may be another process's after a crash: where the system tells them, its boot and start time tell it apart. */
type Owner = { host: string; pid: number; boot?: string | undefined; started?: string | undefined }

const CLAIM = /^owner-[0-9a-f-]+\.json$/

/**
 * Makes this process the folder's owner until the function returned is called. Throws while another owner lives.
 *
 * First it writes a claim under a name of its own, then it looks for others: of two that come at once the one that looks
 * last sees the other and gives way. Both may; never do both stay.
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const mine = `owner-${randomUUID()}.json`
  const path = join(folder, mine)
  const unlock = () => rm(path, { force: true })
  try {
    // Renamed, so that nobody sees half of it: what cannot be read was left by a power cut.
    await writeFile(`${path}.new`, JSON.stringify(await thisProcess()), { flag: 'wx' })
    await rename(`${path}.new`, path)
    for (const name of (await readdir(folder)).filter((each) => CLAIM.test(each) && each !== mine)) {
      const owner = await readOwner(join(folder, name))
      if (owner && (await lives(owner))) throw inUse(folder, owner.pid)
      await rm(join(folder, name), { force: true })
    }
  } catch (error) {
    await unlock().catch(() => undefined)
    throw error
  }
  return unlock
}

async function thisProcess(): Promise<Owner> {
  return { host: hostname(), pid: process.pid, boot: await bootId(), started: await startTimeOf(process.pid) }
}

/** Undefined for one that is not whole. */
async function readOwner(path: string): Promise<Owner | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8'))
  } catch {
    return undefined
  }
}

/** What runs on other hosts cannot be seen. */
async function lives({ host, pid, boot, started }: Owner): Promise<boolean> {
  if (host !== hostname() || differ(boot, await bootId()) || !runs(pid)) return false
  return !differ(started, await startTimeOf(pid))
}

function differ(before: string | undefined, now: string | undefined): boolean {
  return before !== undefined && now !== undefined && before !== now
}

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as { code?: string }).code === 'EPERM'
  }
}

function bootId(): Promise<string | undefined> {
  return readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => undefined)
}

/** In ticks since the boot: field 22, and the second, a name in brackets, may contain blanks. */
async function startTimeOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
}

function inUse(folder: string, pid: number): Error {
  return new Error(`${folder} is the spool of process ${pid}: give every process a folder of its own`)
}
