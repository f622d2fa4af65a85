import { mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Guard } from './guard.ts'
import { startProcess } from './own-process.ts'
import { stackPort } from './ports.ts'
import { type ClickHouseServer, withFields } from './server.ts'

/** Statements at a time; more wait inside. */
const CONNECTIONS = 8

/** The HTTP front over chDB in a process of its own, so that it can be killed like a server. */
export async function startClickHouse(folder: string, guard: Guard): Promise<ClickHouseServer> {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const port = await stackPort()
  const url = `http://127.0.0.1:${port}`
  const server = await startProcess({
    name: 'The ClickHouse front',
    command: process.execPath,
    args: [...frontCommand(), folder, String(port), String(CONNECTIONS)],
    // Every statement holds a thread of Node's pool, which files and compression need too. Servers live in UTC.
    env: { UV_THREADPOOL_SIZE: String(CONNECTIONS + 4), TZ: 'UTC' },
    folder,
    logFile: join(folder, 'front.log'),
    guard,
    answers: () => pings(url),
    startWithinMs: 30_000,
    stopWithinMs: 20_000,
  })
  return withFields(server, { url })
}

/** From sources through tsx, from a build as it is. */
function frontCommand(): string[] {
  const built = import.meta.url.endsWith('.js')
  const main = fileURLToPath(
    new URL(built ? './clickhouse-front/main.js' : './clickhouse-front/main.ts', import.meta.url),
  )
  if (built) return [main]
  return ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href, main]
}

export async function pings(url: string): Promise<boolean> {
  try {
    const answer = await fetch(`${url}/ping`, { signal: AbortSignal.timeout(1_000) })
    return (await answer.text()) === 'Ok.\n'
  } catch {
    return false
  }
}
