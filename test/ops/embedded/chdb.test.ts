import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openChdb } from '../../../ops/embedded/chdb.clickhouse.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { encodeLogRows } from '../../../schemas/event/usage-batch.avro.ts'
import { logRow, usageEvent } from '../../support/log-events.ts'
import { type TempFolder, tempFolder } from '../../support/temp-folder.ts'

// One folder for the whole file: chDB binds one a process.
const folder: TempFolder = tempFolder()
const path = join(folder.path, 'clickhouse')
const SLOW = 'SELECT sleepEachRow(0.1) FROM numbers(3)'
let store: ClickHouseStore
let closed: boolean

beforeEach(async () => {
  store = await openChdb(path, 2)
  closed = false
})
afterEach(async () => {
  if (!closed) await store.close()
})

afterAll(() => folder.remove())

async function close(): Promise<void> {
  closed = true
  await store.close()
}

function filesBelow(scratch: string): string[] {
  return readdirSync(scratch, { recursive: true, withFileTypes: true }).flatMap((entry) =>
    entry.isFile() ? [entry.name] : [],
  )
}

describe('the embedded ClickHouse', () => {
  test('keeps what was written when it is closed and opened again', async () => {
    await store.command('CREATE TABLE IF NOT EXISTS kept (n UInt64) ENGINE = MergeTree ORDER BY n')
    await store.command('INSERT INTO kept SELECT 1')
    await close()
    store = await openChdb(path, 1)
    closed = false
    expect(await store.query('SELECT toString(n) AS n FROM kept')).toEqual([{ n: '1' }])
  })

  test('waits at its close for what runs and for what waits: a connection closed under a query ends the process', async () => {
    const ended: number[] = []
    const queries = [0, 1, 2, 3].map((n) => store.query(SLOW).then(() => ended.push(n)))
    await close()
    expect(ended.sort()).toEqual([0, 1, 2, 3])
    await Promise.all(queries)
  })

  test('lends its connections first come, first served', async () => {
    const order: string[] = []
    const single = await openChdb(path, 1)
    const slow = single.query(SLOW)
    const waiting = ['a', 'b', 'c'].map((name) => single.ping().then(() => order.push(name)))
    await Promise.all([slow, ...waiting])
    expect(order).toEqual(['a', 'b', 'c'])
    await single.close()
  })

  test('gives a connection back after an error', async () => {
    for (let n = 0; n < 5; n++) await expect(store.query('SELECT nothing')).rejects.toThrow()
    await expect(store.insertAvro(Buffer.from('x'), [() => 'SELEKT'])).rejects.toThrow()
    expect(await store.query('SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  test('refuses what would wait too long in a line that is too long', async () => {
    const short = await openChdb(path, 1, 2)
    const queries = [short.query(SLOW), short.ping(), short.ping()]
    await expect(short.ping()).rejects.toMatchObject({ code: 'overloaded' })
    await Promise.all(queries)
    await short.ping()
    await short.close()
  })

  test('leaves no file of an insert behind, and removes what a killed process left', async () => {
    const scratch = `${path}-scratch`
    const file = encodeLogRows([logRow([usageEvent('a')])])
    await store.insertAvro(file, [(source) => `SELECT count() FROM ${source}`])
    await expect(store.insertAvro(file, [() => 'SELECT throwIf(1)'])).rejects.toThrow()
    expect(filesBelow(scratch)).toEqual([])
    mkdirSync(join(scratch, '1-killed'), { recursive: true })
    writeFileSync(join(scratch, '1-killed', '7.avro'), 'x')
    await close()
    store = await openChdb(path, 1)
    closed = false
    expect(filesBelow(scratch)).toEqual([])
  })
})
