import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { startEmbeddedPostgres } from '../embedded/postgres.ts'
import { postgresBinaries, postgresUser } from '../embedded/postgres-binaries.ts'
import type { Guard } from './guard.ts'
import { startProcess } from './own-process.ts'
import { stackPort } from './ports.ts'
import { type PostgresServer, withFields } from './server.ts'

const FLAGS = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'max_connections=200', 'jit=off']

/**
 * The embedded PostgreSQL, which is a real one, as a server: `url` stays the same over restarts. `dataFolder` is where
 * its files lie, elsewhere than in `folder` if that is closed to the user it runs as.
 */
export async function startPostgres(folder: string, guard: Guard): Promise<PostgresServer & { dataFolder: string }> {
  const user = postgresUser()
  mkdirSync(folder, { recursive: true, mode: user ? 0o711 : 0o700 })
  const { postgres } = await postgresBinaries(user)
  // The embedded one makes the cluster, but listens where it likes: a server's address is fixed, so it starts anew.
  const embedded = await startEmbeddedPostgres(folder)
  await embedded.stop()
  const port = await stackPort()
  const url = embedded.url.replace(/:\d+\//, `:${port}/`)
  const settings = FLAGS.flatMap((setting) => ['-c', setting])
  const server = await startProcess({
    name: 'Postgres',
    command: postgres,
    args: ['-D', embedded.folder, '-p', String(port), ...settings],
    user,
    folder: embedded.folder,
    logFile: join(folder, 'postgres.log'),
    guard,
    answers: () => connects(url),
    startWithinMs: 30_000,
    stopWithinMs: 20_000,
    // Its fast shutdown: sessions end, a checkpoint is written.
    stopSignal: 'SIGINT',
    // Its immediate one: nothing is written. A SIGKILL would leave its children at work for a moment.
    killSignal: 'SIGQUIT',
  })
  const { restart } = server
  const again = async () => {
    for (let tries = 1; ; tries++) {
      try {
        return await restart()
      } catch (error) {
        // After a SIGKILL its children take a moment to notice, and it does not start beside them.
        if (tries === 5) throw error
        await sleep(300)
      }
    }
  }
  return withFields(server, { restart: again, url, dataFolder: embedded.folder })
}

export async function connects(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 })
  client.on('error', () => undefined)
  try {
    await client.connect()
    return true
  } catch {
    return false
  } finally {
    await client.end().catch(() => undefined)
  }
}
