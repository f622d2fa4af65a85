import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import {
  enterableFolder,
  othersCanEnter,
  type PostgresUser,
  postgresBinaries,
  postgresUser,
} from './postgres-binaries.ts'

export type EmbeddedPostgres = {
  /** Connection string of the owner, for 127.0.0.1 and this start's port. */
  url: string
  /** Where its files really lie: elsewhere than in the data folder when running as root in a closed home. */
  folder: string
  /** True when a server that outlived a killed process was taken over. */
  adopted: boolean
  stop(): Promise<void>
}

const OWNER = 'tallyline'
const PASSWORD_FILE = 'tallyline-password'
const START_TIMEOUT_MS = 30_000

/**
 * Starts the embedded PostgreSQL of a data folder, or takes over the one that a killed process left running.
 * The server is detached, so that Ctrl-C in a terminal reaches only us and we stop it last.
 */
export async function startEmbeddedPostgres(dataFolder: string): Promise<EmbeddedPostgres> {
  const user = postgresUser()
  const binaries = await postgresBinaries(user)
  const link = join(dataFolder, 'postgres')
  if (!existsSync(join(link, 'PG_VERSION'))) await initialise(binaries.initdb, dataFolder, link, user)
  const folder = realpathSync(link)
  const running = await runningServer(folder)
  if (running) return { ...running, folder, adopted: true }
  for (let attempt = 1; ; attempt++) {
    const port = await freePort()
    launch(binaries.postgres, folder, port, join(dataFolder, 'postgres.log'), user)
    const started = await waitForServer(folder)
    if (started) return { ...started, folder, adopted: false }
    if (attempt === 3) throw new Error(`The embedded Postgres does not start: see ${join(dataFolder, 'postgres.log')}`)
  }
}

/** The connection string of a running embedded server, for commands beside the product; undefined when none runs. */
export async function findEmbeddedPostgres(dataFolder: string): Promise<string | undefined> {
  const link = join(dataFolder, 'postgres')
  return existsSync(join(link, 'PG_VERSION')) ? (await runningServer(realpathSync(link)))?.url : undefined
}

/** initdb works in a folder of its own that is renamed (or linked) into place: a crash leaves no half cluster. */
async function initialise(
  initdb: string,
  dataFolder: string,
  link: string,
  user: PostgresUser | undefined,
): Promise<void> {
  const elsewhere = user !== undefined && !othersCanEnter(dataFolder)
  const parent = elsewhere ? enterableFolder() : mkdtempSync(join(dataFolder, 'postgres-new-'))
  if (user && !elsewhere) chmodSync(parent, 0o711)
  const cluster = join(parent, 'postgres')
  const passwordFile = join(parent, 'password')
  writeFileSync(passwordFile, randomBytes(24).toString('hex'), { mode: 0o600 })
  mkdirSync(cluster, { mode: 0o700 })
  if (user) for (const path of [cluster, passwordFile]) chownSync(path, user.uid, user.gid)
  const options = ['--auth=scram-sha-256', `--pwfile=${passwordFile}`, '--encoding=UTF8', '--locale=C']
  execFileSync(initdb, ['-D', cluster, '-U', OWNER, ...options], { ...user, cwd: parent, stdio: 'pipe' })
  renameSync(passwordFile, join(cluster, PASSWORD_FILE))
  try {
    if (elsewhere) symlinkSync(cluster, link)
    else renameSync(cluster, link)
  } catch (error) {
    // Another start was faster: its cluster is as good.
    if (!existsSync(join(link, 'PG_VERSION'))) throw error
    rmSync(parent, { recursive: true, force: true })
  }
  if (!elsewhere) rmSync(parent, { recursive: true, force: true })
}

function launch(postgres: string, folder: string, port: number, logFile: string, user: PostgresUser | undefined): void {
  const settings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: '60',
    shared_buffers: '64MB',
    // Its default is a share of the above, and a chunk of a billing run writes more than that.
    wal_buffers: '16MB',
    jit: 'off',
  }
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const log = openSync(logFile, 'a', 0o600)
  const child = spawn(postgres, ['-D', folder, '-p', String(port), ...flags], {
    ...user,
    cwd: folder,
    detached: true,
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  child.on('error', () => undefined) // seen as a server that never answers
  child.unref()
}

async function waitForServer(folder: string): Promise<Omit<EmbeddedPostgres, 'folder' | 'adopted'> | undefined> {
  for (let waitedMs = 0; waitedMs < START_TIMEOUT_MS; waitedMs += 25) {
    await sleep(25)
    const running = await runningServer(folder)
    if (running) return running
    if (waitedMs > 2_000 && !readPidFile(folder)) return undefined
  }
  return undefined
}

/**
 * The server whose pid file lies in the folder, if it lives. A pid file whose process is no Postgres (the pid was
 * given to another program after a reboot) is removed, because Postgres itself would refuse to start beside it.
 */
async function runningServer(folder: string): Promise<Omit<EmbeddedPostgres, 'folder' | 'adopted'> | undefined> {
  const found = readPidFile(folder)
  if (!found) return undefined
  if (!isPostgres(found.pid, folder)) {
    rmSync(join(folder, 'postmaster.pid'), { force: true })
    return undefined
  }
  const password = readFileSync(join(folder, PASSWORD_FILE), 'utf8')
  const url = `postgres://${OWNER}:${password}@127.0.0.1:${found.port}/postgres`
  for (let waitedMs = 0; waitedMs < START_TIMEOUT_MS; waitedMs += 50) {
    if (await answers(url, folder)) return { url, stop: () => stopServer(found.pid, folder) }
    if (!isPostgres(found.pid, folder)) return undefined
    await sleep(50)
  }
  return undefined
}

function readPidFile(folder: string): { pid: number; port: number } | undefined {
  try {
    const lines = readFileSync(join(folder, 'postmaster.pid'), 'utf8').split('\n')
    const [pid, port] = [Number(lines[0]), Number(lines[3])]
    return pid > 1 && port > 0 ? { pid, port } : undefined
  } catch {
    return undefined
  }
}

/**
 * Whether the pid is a living Postgres of this folder: after a reboot, or in another container, it may be another
 * program, also another Postgres. Linux tells in /proc, also where no `ps` is installed; macOS always has ps.
 */
function isPostgres(pid: number, folder: string): boolean {
  try {
    if (process.platform === 'linux') {
      const [, command = '', state = ''] = /\((.*)\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? []
      return command.includes('postgres') && state !== 'Z' && realpathSync(`/proc/${pid}/cwd`) === folder
    }
    const command = execFileSync('ps', ['-p', String(pid), '-o', 'stat=,command='], { encoding: 'utf8' }).trim()
    return command.includes('postgres') && command.includes(folder) && !command.startsWith('Z')
  } catch {
    return false
  }
}

async function answers(url: string, folder: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 })
  client.on('error', () => undefined)
  try {
    await client.connect()
    const { rows } = await client.query<{ folder: string }>("SELECT current_setting('data_directory') AS folder")
    return rows[0]?.folder === folder
  } catch {
    return false
  } finally {
    await client.end().catch(() => undefined)
  }
}

/** SIGINT is Postgres' fast shutdown: sessions end, a checkpoint is written. */
async function stopServer(pid: number, folder: string): Promise<void> {
  try {
    process.kill(pid, 'SIGINT')
  } catch {
    return
  }
  for (let waitedMs = 0; waitedMs < START_TIMEOUT_MS && isPostgres(pid, folder); waitedMs += 20) await sleep(20)
}

export function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const probe = createServer()
    probe.once('error', fail)
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address()
      probe.close(() => (address && typeof address === 'object' ? done(address.port) : fail(new Error('no free port'))))
    })
  })
}
