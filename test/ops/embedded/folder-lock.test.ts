import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type FolderLock, lockFolder } from '../../../ops/embedded/folder-lock.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

let database: TestDatabase
let lost: string[]

beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())
beforeEach(() => {
  lost = []
})

const lock = (): Promise<FolderLock | undefined> =>
  lockFolder(database.ownerUrl, '.', (error) => lost.push(error.message))

/** As when its process is killed: the connection ends without a word. */
async function endConnections(): Promise<void> {
  const owner = new pg.Client({ connectionString: database.ownerUrl })
  await owner.connect()
  await owner.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE application_name = 'tallyline folder lock' AND datname = current_database()`,
  )
  await owner.end()
}

describe('the lock of a data folder', () => {
  test('belongs to one; the second is refused; released, it is free', async () => {
    const first = await lock()
    expect(first).toBeDefined()
    expect(await lock()).toBeUndefined()
    await first?.release()
    const next = await lock()
    expect(next).toBeDefined()
    await next?.release()
    expect(lost).toEqual([])
  })

  test('of two at once one has it', async () => {
    const both = await Promise.all([lock(), lock()])
    const holders = both.filter((one) => one !== undefined)
    expect(holders).toHaveLength(1)
    await holders[0]?.release()
  })

  test('never outlives its connection: a killed process leaves it to the next, who waits a moment for it', async () => {
    await lock()
    // The one that waits may be ended as well, when it is connected already; looked at now, since it can be at any time.
    const next = lock().catch(() => lock())
    await endConnections()
    const taken = await next
    expect(taken).toBeDefined()
    await taken?.release()
  })

  test('that is lost is told, once it was not given up', async () => {
    const held = await lock()
    await endConnections()
    while (lost.length === 0) await sleep(5)
    await held?.release()
    const told = lost.length
    const given = await lock()
    given?.expectEnd()
    await endConnections()
    await given?.release()
    expect(lost).toHaveLength(told)
  })
})
