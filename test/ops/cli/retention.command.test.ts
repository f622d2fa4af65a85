import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { openChdb } from '../../../ops/embedded/chdb.clickhouse.ts'
import { COMMAND, launch, newDataFolder, removeDataFolder, startProduct } from '../../support/product.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 })

let folder: string

beforeAll(() => {
  folder = newDataFolder()
})
afterAll(() => removeDataFolder(folder))

async function retention(...options: string[]) {
  const command = launch([COMMAND, 'retention', ...options], { TALLYLINE_DATA: folder })
  const { code } = await command.exited
  return { code, stdout: command.stdout(), stderr: command.stderr() }
}

async function letters(work: (store: Awaited<ReturnType<typeof openChdb>>) => Promise<void>): Promise<number> {
  const store = await openChdb(join(folder, 'clickhouse'), 1)
  await work(store)
  const rows = await store.query('SELECT log FROM dead_letters FINAL')
  await store.close()
  return rows.length
}

/** Issue 5, "Retention per table"; HC-11. */
test('says that there is no data, that the product runs, what would go; and then removes it', async () => {
  expect(await retention()).toMatchObject({ code: 1, stderr: expect.stringContaining(`There is no data in ${folder}`) })
  const product = await startProduct(folder)
  expect(await retention()).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('Tallyline is already running on'),
  })
  await product.stop()
  const put = await letters(async (store) => {
    await store.command("INSERT INTO dead_letters SELECT 0, 'l', 0, number, now64(3) - 3e8, 'r', '' FROM numbers(3)")
    await store.command("INSERT INTO dead_letter_replays SELECT 0, 'l', 0, 0, now64(3) - 86400 * 40, 1")
  })
  expect(put).toBe(3)

  const told = (replayed: number, waiting: number, fate: string) =>
    `dead_letters replayed more than 35 days ago: ${replayed} ${fate}
dead_letters waiting for more than 2557 days: ${waiting} ${fate}
events stored more than 7 years ago: 0, which stay: usage could not be told again without them
`
  expect(await retention('--dry-run')).toEqual({ code: 0, stdout: told(1, 2, 'would be removed'), stderr: '' })
  expect(await letters(async () => undefined)).toBe(3)
  expect(await retention('--waiting-days', '9999')).toMatchObject({
    code: 0,
    stdout: told(1, 0, 'removed').replace('2557', '9999'),
  })
  expect(await letters(async () => undefined)).toBe(2)
  expect(await retention()).toMatchObject({ code: 0, stdout: told(0, 2, 'removed') })
  expect(await letters(async () => undefined)).toBe(0)
})

/** What is unsafe is refused: acknowledged events before the end of seven years, letters while a seal may need them. */
test.each([[['--waiting-days', '2556']], [['--replayed-days', '34']], [['--replayed-days', 'all']]])(
  '%j is refused with how it is used',
  async (options) => {
    const { code, stderr } = await retention(...options)
    expect(code).toBe(1)
    expect(stderr).toContain('Usage: tallyline retention [--dry-run]')
  },
)
