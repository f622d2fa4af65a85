import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Stack, startStack } from '../../ops/stack/stack.ts'
import { openClickHouse } from '../../ops/stores/clickhouse-http.clickhouse.ts'
import { type ClickHouseStore, isDataError } from '../../schemas/clickhouse/store.ts'
import { clickHouseStoreContract } from './clickhouse-store.ts'

let stack: Stack<'clickhouse'>
beforeAll(async () => {
  stack = await startStack({ only: ['clickhouse'] })
})
afterAll(() => stack.stop())

clickHouseStoreContract('a server over HTTP', async () => openClickHouse(stack.clickhouse.url))

describe('a server that comes and goes', () => {
  let store: ClickHouseStore
  beforeAll(async () => {
    store = openClickHouse(stack.clickhouse.url, { readLimitSeconds: 1, writeTimeoutMs: 3_000, connections: 4 })
    await store.command('CREATE TABLE kept (n UInt32) ENGINE = MergeTree ORDER BY n SETTINGS fsync_after_insert = 1')
  })
  afterAll(() => store.close())

  test('while it is away every call fails at once, and the first one after works', async () => {
    await store.command('INSERT INTO kept SELECT 1')
    await stack.clickhouse.kill()
    const began = performance.now()
    const calls = [
      store.query('SELECT 1'),
      store.command('SELECT 1'),
      store.ping(),
      store.insertAvro(Buffer.from('x'), [String]),
    ]
    for (const result of await Promise.allSettled(calls)) {
      expect(result).toMatchObject({ status: 'rejected' })
      expect(isDataError((result as PromiseRejectedResult).reason)).toBe(false)
    }
    expect(performance.now() - began).toBeLessThan(15_000)
    await stack.clickhouse.restart()
    expect(await store.query('SELECT n FROM kept')).toEqual([{ n: 1 }])
  })

  test('a restart between two calls is not noticed', async () => {
    for (let round = 0; round < 3; round++) {
      await store.ping()
      await stack.clickhouse.restart()
      await store.ping()
    }
  })

  test('killed in the middle of a call, the call fails', async () => {
    const reading = store
      .query('SELECT sum(sipHash64(number)) FROM numbers(100000000000)')
      .catch((error: unknown) => error)
    await sleep(300)
    await stack.clickhouse.kill()
    expect(await reading).toBeInstanceOf(Error)
    await stack.clickhouse.restart()
    await store.ping()
  })

  test.skipIf(process.platform === 'win32')(
    'one that hangs is given up after the time allowed',
    async () => {
      const pid = stack.clickhouse.pid
      if (pid === undefined) return
      process.kill(pid, 'SIGSTOP')
      const began = performance.now()
      await expect(store.command('INSERT INTO kept SELECT 2')).rejects.toThrow('did not answer within 3000 ms')
      expect(performance.now() - began).toBeLessThan(20_000)
      process.kill(pid, 'SIGCONT')
      await store.ping()
    },
    30_000,
  )

  test('a read that takes longer than allowed is ended by the server', async () => {
    const sql = 'SELECT sum(sipHash64(number)) AS n FROM numbers(100000000000)'
    await expect(store.query(sql)).rejects.toMatchObject({ code: '159' })
  })
})
