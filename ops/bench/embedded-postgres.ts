import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { startEmbeddedPostgres } from '../embedded/postgres.ts'
import { startGuard } from '../stack/guard.ts'

export type WatchedPostgres = { pid: number /** It was stopped in order. */; putAway(): Promise<void> }

/** The embedded Postgres outlives a process that is killed: that is right for the product and wrong for a bench. */
export function watchPostgres(folder: string): WatchedPostgres {
  const pid = Number(readFileSync(join(folder, 'postmaster.pid'), 'utf8').split('\n')[0])
  const guard = startGuard()
  guard.watch(pid)
  guard.watchFolder(folder)
  const putAway = async () => {
    guard.forget(pid)
    await guard.dismiss()
    rmSync(folder, { recursive: true, force: true })
  }
  return { pid, putAway }
}

/** An embedded Postgres of its own. */
export async function startPostgres(folder: string): Promise<{ url: string; pid: number; stop(): Promise<void> }> {
  const server = await startEmbeddedPostgres(folder)
  const watched = watchPostgres(server.folder)
  const stop = async () => {
    await server.stop()
    await watched.putAway()
  }
  return { url: server.url, pid: watched.pid, stop }
}
