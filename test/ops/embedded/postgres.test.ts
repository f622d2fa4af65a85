import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type EmbeddedPostgres,
  findEmbeddedPostgres,
  freePort,
  startEmbeddedPostgres,
} from '../../../ops/embedded/postgres.ts'
import { programArgs } from '../../support/compiled.ts'
import { type TempFolder, tempFolder } from '../../support/temp-folder.ts'

let folder: TempFolder
let dataFolder: string
let started: EmbeddedPostgres[]

beforeEach(() => {
  folder = tempFolder()
  chmodSync(folder.path, 0o711)
  // A blank and a quote, as users' folders have them.
  dataFolder = join(folder.path, "it's data")
  mkdirSync(dataFolder, { mode: 0o711 })
  started = []
})
afterEach(async () => {
  for (const server of started) await server.stop()
  for (const { folder: real } of started)
    if (!real.startsWith(folder.path)) rmSync(dirname(real), { recursive: true, force: true })
  folder.remove()
})

async function start(): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres(dataFolder)
  started.push(server)
  return server
}

/** Another process that starts it and is killed at once. */
async function startAndBeKilled(): Promise<{ url: string; adopted: boolean }> {
  const script = join(import.meta.dirname, 'start-postgres.ts')
  const child = spawn(process.execPath, [...programArgs(script), dataFolder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  const [, signal] = (await once(child, 'exit')) as [number | null, string | null]
  expect(signal).toBe('SIGKILL')
  return JSON.parse(output) as { url: string; adopted: boolean }
}

async function query<Row extends pg.QueryResultRow>(url: string, sql: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const { rows } = await client.query<Row>(sql)
  await client.end()
  return rows
}

const pidOf = (server: EmbeddedPostgres) =>
  Number(readFileSync(join(server.folder, 'postmaster.pid'), 'utf8').split('\n')[0])

describe('the embedded Postgres', () => {
  test('outlives a process that is killed; the next start takes it over with its data, and can stop it', async () => {
    const killed = await startAndBeKilled()
    expect(killed.adopted).toBe(false)
    await query(killed.url, 'CREATE TABLE kept AS SELECT 7 AS n')
    expect(await findEmbeddedPostgres(dataFolder)).toBe(killed.url)
    const server = await start()
    expect(server).toMatchObject({ adopted: true, url: killed.url })
    expect(await query(server.url, 'SELECT n FROM kept')).toEqual([{ n: 7 }])
    await server.stop()
    await server.stop()
    expect(await findEmbeddedPostgres(dataFolder)).toBeUndefined()
    const again = await start()
    expect(again.adopted).toBe(false)
    expect(await query(again.url, 'SELECT n FROM kept')).toEqual([{ n: 7 }])
  })

  test('killed itself, with what it had acknowledged, starts again (invariant 2)', async () => {
    const server = await start()
    await query(server.url, 'CREATE TABLE kept AS SELECT 7 AS n')
    const pid = pidOf(server)
    process.kill(pid, 'SIGKILL')
    const again = await start()
    expect(again.adopted).toBe(false)
    expect(pidOf(again)).not.toBe(pid)
    expect(await query(again.url, 'SELECT n FROM kept')).toEqual([{ n: 7 }])
  })

  test('a pid file that names another program by now, as after a reboot, stops nobody', async () => {
    const server = await start()
    const pidFile = readFileSync(join(server.folder, 'postmaster.pid'), 'utf8')
    await server.stop()
    writeFileSync(join(server.folder, 'postmaster.pid'), pidFile.replace(/^\d+/, String(process.pid)))
    expect(await findEmbeddedPostgres(dataFolder)).toBeUndefined()
    writeFileSync(join(server.folder, 'postmaster.pid'), pidFile.replace(/^\d+/, String(process.pid)))
    const again = await start()
    expect(again.adopted).toBe(false)
    expect(await query(again.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  test('of two first starts at once both get the same server', async () => {
    const [one, other] = await Promise.all([startAndBeKilled(), startAndBeKilled()])
    expect(one.url).toBe(other.url)
    const server = await start()
    expect(server).toMatchObject({ adopted: true, url: one.url })
    expect(await query(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  test('lets nobody in without its password, and listens on this machine only', async () => {
    const server = await start()
    const wrong = new URL(server.url)
    wrong.password = 'wrong'
    await expect(query(wrong.href, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' })
    const [row] = await query<{ listens: string; sockets: string }>(
      server.url,
      "SELECT current_setting('listen_addresses') AS listens, current_setting('unix_socket_directories') AS sockets",
    )
    expect(row).toEqual({ listens: '127.0.0.1', sockets: '' })
  })
})

test('a free port is free', async () => {
  const ports = await Promise.all(Array.from({ length: 10 }, freePort))
  for (const port of ports) expect(port).toBeGreaterThan(1_023)
})
