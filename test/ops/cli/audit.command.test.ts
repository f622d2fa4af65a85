import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { openChdb } from '../../../ops/embedded/chdb.clickhouse.ts'
import { EVENT_TYPE, setUpMeters } from '../../integrity/catalog.ts'
import { apiOf } from '../../support/api.ts'
import { COMMAND, eventually, launch, newDataFolder, removeDataFolder, startProduct } from '../../support/product.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 })

let folder: string

beforeAll(() => {
  folder = newDataFolder()
})
afterAll(() => removeDataFolder(folder))

async function audit(...options: string[]) {
  const command = launch([COMMAND, 'audit', '--period', '2026-11', ...options], { TALLYLINE_DATA: folder })
  const { code } = await command.exited
  return { code, stdout: command.stdout(), stderr: command.stderr() }
}

/** Issue 5: `npx tallyline audit --period …` says equal or names the shards that differ. */
test('says that there is no data, that the product runs, then equal; and names a shard whose rollup is wrong', async () => {
  expect(await audit()).toMatchObject({ code: 1, stderr: expect.stringContaining(`There is no data in ${folder}`) })
  const product = await startProduct(folder)
  const api = apiOf(product.url, product.key)
  await setUpMeters(api)
  const time = '2026-11-02T00:00:00Z'
  const data = { context_tokens: 7, generated_tokens: 1 }
  const event = (id: string) => ({ id, source: 'e2e', type: EVENT_TYPE, subject: 'acme', time, data })
  await api.call('POST', '/events', [event('a'), event('b')])
  const usage = () =>
    api.call<{ total: object }>('GET', '/usage?meter=context_tokens&from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z')
  const total = { quantity: '14', events: 2 }
  expect(await eventually(usage, (seen) => JSON.stringify(seen.total) === JSON.stringify(total))).toMatchObject({
    total,
  })
  expect(await audit()).toMatchObject({ code: 1, stderr: expect.stringContaining('Tallyline is already running on') })
  await product.stop()

  const right = await audit()
  expect(right).toMatchObject({ code: 0, stderr: '' })
  expect(right.stdout).toMatch(/^tenant default, 2026-11: equal\n {2}events 2, digest \d+\n/)
  expect(right.stdout).toContain('  meter context_tokens: 14 in 2 events\n')
  expect(right.stdout).toMatch(/ {2}shards 2, of which [0-2] are read from their events at present\n/)
  expect(right.stdout).toMatch(/ {2}log [\w-]+\/\d: stored to 1\n/)
  expect(await audit('--tenant', 'nobody')).toMatchObject({ code: 1, stderr: 'There is no tenant nobody.\n' })

  // As if a rebuild had covered everything and written no row.
  const store = await openChdb(join(folder, 'clickhouse'), 1)
  const [one] = await store.query<{ shard: string }>('SELECT toString(min(shard)) AS shard FROM events')
  await store.command(
    `INSERT INTO shard_heads (tenant, shard, version, run, covered, built_at)
     SELECT tenant, shard, bitShiftLeft(toUInt64(1), 60), 7, bitShiftLeft(toUInt64(1), 50), now64(3)
     FROM events WHERE shard = {shard:UInt64}`,
    { shard: one!.shard },
  )
  await store.close()
  const wrong = await audit('--tenant', 'default')
  expect(wrong.code).toBe(1)
  expect(wrong.stdout).toMatch(/^tenant default, 2026-11: DIFFERS\n/)
  expect(wrong.stdout).toMatch(
    new RegExp(
      `shard ${one!.shard} DIFFERS, meter context_tokens: events give 1 events, quantity 7, digest \\d+; the rollup nothing`,
    ),
  )
})

test.each([[[]], [['--period', '2026-13']], [['--period', 'november']]])('%j shows how it is used', async (options) => {
  const command = launch([COMMAND, 'audit', ...options], { TALLYLINE_DATA: folder })
  expect((await command.exited).code).toBe(1)
  expect(command.stderr()).toContain('Usage: tallyline audit --period 2026-11')
})
