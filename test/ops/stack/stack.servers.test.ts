import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Redis } from 'ioredis'
import { Kafka, logLevel } from 'kafkajs'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Stack, startStack } from '../../../ops/stack/stack.ts'
import { programArgs } from '../../support/compiled.ts'

/** Where this file's stacks lie, so that what they leave behind is found. */
const home = mkdtempSync(join(tmpdir(), 'tallyline-stack-test-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))

describe('servers that are killed and started again', () => {
  let stack: Stack
  beforeAll(async () => {
    stack = await startStack({ folder: join(home, 'kept') })
  }, 120_000)
  afterAll(() => stack.stop())

  test('all four answer under the addresses the product reads', () => {
    expect(stack.env).toEqual({
      KAFKA_BROKERS: stack.kafka.brokers,
      REDIS_URL: stack.redis.url,
      CLICKHOUSE_URL: stack.clickhouse.url,
      DATABASE_URL: stack.postgres.url,
    })
    if (stack.by === 'native')
      for (const name of ['kafka', 'redis', 'clickhouse', 'postgres'] as const)
        expect(stack[name].pid).toBeGreaterThan(1)
  })

  test('Kafka keeps what it acknowledged, and makes no topics by itself', async () => {
    const client = new Kafka({ brokers: [stack.kafka.brokers], logLevel: logLevel.NOTHING, retry: { retries: 12 } })
    const admin = client.admin()
    const producer = client.producer()
    await Promise.all([admin.connect(), producer.connect()])
    await admin.createTopics({ topics: [{ topic: 'kept', numPartitions: 2 }], waitForLeaders: true })
    await producer.send({ topic: 'kept', acks: -1, messages: [{ partition: 1, value: 'one' }] })
    await stack.kafka.kill()
    expect(stack.kafka.pid).toBeUndefined()
    await stack.kafka.restart()
    await producer.send({ topic: 'kept', acks: -1, messages: [{ partition: 1, value: 'two' }] })
    const ends = await admin.fetchTopicOffsets('kept')
    expect(ends.find(({ partition }) => partition === 1)).toMatchObject({ low: '0', high: '2' })
    await expect(producer.send({ topic: 'misspelt', messages: [{ value: 'x' }] })).rejects.toThrow()
    expect(await admin.listTopics()).not.toContain('misspelt')
    await Promise.all([admin.disconnect(), producer.disconnect()])
  }, 120_000)

  test('Redis keeps its counters and evicts none', async () => {
    const client = new Redis(stack.redis.url)
    client.on('error', () => undefined)
    await client.set('counter', '41')
    expect(await client.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction'])
    await stack.redis.restart()
    expect(await client.incr('counter')).toBe(42)
    client.disconnect()
  })

  test('Postgres comes back under the same address after every kind of end', async () => {
    const run = async (sql: string) => {
      const client = new pg.Client({ connectionString: stack.postgres.url })
      await client.connect()
      const { rows } = await client.query<{ n: number }>(sql)
      await client.end()
      return rows
    }
    await run('CREATE TABLE kept (n integer)')
    await run('INSERT INTO kept VALUES (1)')
    await stack.postgres.kill()
    await stack.postgres.restart()
    await stack.postgres.restart()
    await stack.postgres.stop()
    await stack.postgres.restart()
    expect(await run('SELECT n FROM kept')).toEqual([{ n: 1 }])
  }, 60_000)

  test('a frozen server answers nobody, and goes on where it was', async () => {
    const asked = () => fetch(`${stack.clickhouse.url}/ping`, { signal: AbortSignal.timeout(1_000) })
    await stack.clickhouse.freeze()
    await expect(asked()).rejects.toThrow('timeout')
    await stack.clickhouse.thaw()
    expect((await asked()).status).toBe(200)
  })

  test('the folder of a stack that was given one is found again', async () => {
    const before = processesNaming(home).length
    const again = await startStack({ folder: join(home, 'again'), only: ['redis'] })
    const client = new Redis(again.redis.url)
    await client.set('a', '1')
    client.disconnect()
    await again.stop()
    expect(processesNaming(home)).toHaveLength(before)
    const third = await startStack({ folder: join(home, 'again'), only: ['redis'] })
    const reader = new Redis(third.redis.url)
    expect(await reader.get('a')).toBe('1')
    reader.disconnect()
    await third.stop()
  })
})

describe('the command', () => {
  test.each(['SIGINT', 'SIGTERM'] as const)(
    'prints four lines to export, and %s leaves nothing behind',
    async (signal) => {
      const command = await runCommand()
      expect(command.exports.map((line) => line.split('=')[0]).sort()).toEqual([
        'export CLICKHOUSE_URL',
        'export DATABASE_URL',
        'export KAFKA_BROKERS',
        'export REDIS_URL',
      ])
      const files = await dataDirectory(command.exports)
      expect(processesNaming(command.folder).length).toBeGreaterThanOrEqual(3)
      // As a terminal does it: to the command and whatever is in its group.
      process.kill(-(command.child.pid ?? 0), signal)
      expect(await command.ended).toBe(0)
      expect(processesNaming(command.folder)).toEqual([])
      expect(readdirSync(command.folder)).toEqual([])
      expect(existsSync(files)).toBe(false)
    },
    180_000,
  )

  test('killed, it leaves nothing behind either', async () => {
    const command = await runCommand()
    const files = await dataDirectory(command.exports)
    command.child.kill('SIGKILL')
    await command.ended
    const left = () => readdirSync(command.folder).length > 0 || existsSync(files)
    for (let waitedMs = 0; waitedMs < 20_000 && left(); waitedMs += 100) await sleep(100)
    expect(processesNaming(command.folder)).toEqual([])
    expect(processesNaming(files)).toEqual([])
    expect(readdirSync(command.folder)).toEqual([])
    expect(existsSync(files)).toBe(false)
  }, 180_000)

  test('names what is missing, with the package that has it', async () => {
    const command = spawnCommand({ PATH: mkdtempSync(join(home, 'empty-')) })
    expect(await command.ended).toBe(1)
    expect(command.stderr()).toContain(
      "Kafka needs 'java', which is not installed: apt-get install default-jre-headless",
    )
    expect(command.stderr()).toContain("Kafka needs 'mvn', which is not installed: apt-get install maven")
    expect(command.stderr()).toContain(
      "Redis needs 'redis-server', which is not installed: apt-get install redis-server",
    )
    expect(readdirSync(command.folder)).toEqual([])
  }, 60_000)
})

/** What a failed test would leave running. */
const spawned: ChildProcess[] = []
afterAll(() => {
  for (const child of spawned) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
})

type Command = {
  child: ChildProcess
  folder: string
  ended: Promise<number | null>
  stdout(): string
  stderr(): string
}

/** In a process group and a temporary directory of its own. */
function spawnCommand(env: Record<string, string> = {}): Command {
  const folder = mkdtempSync(join(home, 'tmp-'))
  const main = fileURLToPath(new URL('./run-stack.ts', import.meta.url))
  const child = spawn(process.execPath, programArgs(main), {
    detached: true,
    env: { ...process.env, ...env, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  spawned.push(child)
  const texts = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name]?.on('data', (part: Buffer) => (texts[name] += String(part)))
  const ended = new Promise<number | null>((done) => child.once('close', done))
  return { child, folder, ended, stdout: () => texts.stdout, stderr: () => texts.stderr }
}

async function runCommand(): Promise<Command & { exports: string[] }> {
  const command = spawnCommand()
  const exports = () =>
    command
      .stdout()
      .split('\n')
      .filter((line) => line !== '')
  while (exports().length < 4) {
    if (command.child.exitCode !== null) throw new Error(command.stderr())
    await sleep(100)
  }
  return { ...command, exports: exports() }
}

async function dataDirectory(exports: string[]): Promise<string> {
  const url = exports.find((line) => line.startsWith('export DATABASE_URL='))?.slice('export DATABASE_URL='.length)
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const { rows } = await client.query<{ folder: string }>("SELECT current_setting('data_directory') AS folder")
  await client.end()
  return rows[0]!.folder
}

/** Processes whose command line or folder contains a text, but this one and the command itself. */
function processesNaming(text: string): string[] {
  if (process.platform !== 'linux') return []
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        const line = `${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')} in ${readlinkSync(`/proc/${pid}/cwd`)}`
        return line.includes(text) ? [`${pid} ${line}`] : []
      } catch {
        return []
      }
    })
}
