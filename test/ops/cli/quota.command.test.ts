import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { quotaCommand } from '../../../ops/cli/quota.command.ts'
import { openLmdb } from '../../../ops/embedded/lmdb.ts'
import { EVENT_TYPE, setUpMeters } from '../../integrity/catalog.ts'
import { apiOf } from '../../support/api.ts'
import { COMMAND, launch, newDataFolder, removeDataFolder, startProduct } from '../../support/product.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 })

let folder: string

beforeAll(() => {
  folder = newDataFolder()
})
afterAll(() => removeDataFolder(folder))

async function recalculate(...options: string[]) {
  const command = launch([COMMAND, 'quota', 'recalculate', ...options], { TALLYLINE_DATA: folder })
  const { code } = await command.exited
  return { code, stdout: command.stdout(), stderr: command.stderr() }
}

/** Sets the only counter behind everybody's back; answers what it was. */
async function plant(text: (before: bigint) => string | undefined): Promise<bigint> {
  const lmdb = await openLmdb(join(folder, 'log'), join(folder, 'quota'))
  const [entry, ...others] = [...lmdb.quota.getRange({ start: 'used\n', end: 'used\u000b' })]
  expect(others).toEqual([])
  const [micro = '', usedAtMs] = (entry?.value ?? '').split(' ')
  const planted = text(BigInt(micro))
  if (planted === undefined) await lmdb.quota.remove(entry!.key)
  else await lmdb.quota.put(entry!.key, `${planted} ${usedAtMs}`)
  await lmdb.quota.flushed
  await lmdb.close()
  return BigInt(micro)
}

/** HC-5, issue 6: `npx tallyline quota recalculate [--dry-run]` prints differences. */
test('says that there is no data, that the product runs, then equal; a planted counter is found, explained, corrected', async () => {
  expect(await recalculate()).toMatchObject({
    code: 1,
    stderr: expect.stringContaining(`There is no data in ${folder}`),
  })
  const product = await startProduct(folder)
  const api = apiOf(product.url, product.key)
  await setUpMeters(api)
  await api.call('PUT', '/quota/acme/context_tokens', { limit: '1000', window: 'month' })
  const event = (id: string) => {
    return { id, source: 'e2e', type: EVENT_TYPE, subject: 'acme', data: { context_tokens: 7, generated_tokens: 1 } }
  }
  await api.call('POST', '/events', [event('a'), event('b')])
  expect(await recalculate()).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('Tallyline is already running on'),
  })
  // Usage need not have come as far as the log.
  await api.call('POST', '/events', [event('c')])
  await product.stop()

  const equal = { code: 0, stdout: '1 counter: equal to usage\n', stderr: '' }
  expect(await recalculate('--dry-run')).toEqual(equal)
  expect(await plant((before) => String(before + 2_500_000n))).toBe(21_000_000n)
  const told = (difference: string, fate: string, cause: string) =>
    new RegExp(
      `^tenant default, subject "acme", meter context_tokens, \\d{4}-\\d\\d-01T00:00:00.000Z to \\d{4}-\\d\\d-01T00:00:00.000Z: ` +
        `${difference}; ${fate}\\n {2}likely cause: ${cause}`,
    )
  const high = 'counter 23.5, usage 21, held 0: too high by 2.5'
  const dry = await recalculate('--dry-run')
  expect(dry).toMatchObject({ code: 1, stderr: '' })
  expect(dry.stdout).toMatch(told(high, 'left as it is', 'drawn and never stored'))
  expect(dry.stdout).toMatch(/\n1 counter, 1 differs: nothing was changed\n$/)
  const corrected = await recalculate('--tenant', 'default')
  expect(corrected).toMatchObject({ code: 0, stderr: '' })
  expect(corrected.stdout).toMatch(told(high, 'corrected', 'drawn and never stored'))
  expect(corrected.stdout).toMatch(/\n1 counter, 1 differs: 1 corrected\n$/)
  expect(await recalculate()).toEqual(equal)

  expect(await plant(() => '0')).toBe(21_000_000n)
  const { code, stdout } = await recalculate('--json')
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect({ code, lines }).toEqual({
    code: 0,
    lines: [
      {
        ...{ tenant: 'default', subject: 'acme', meter: 'context_tokens', state: 'corrected' },
        ...{ counter: '0', usage: '21', held: '0', difference: '-21' },
        ...{
          starts_at: expect.any(String),
          ends_at: expect.any(String),
          cause: expect.stringMatching(/^stored and not/),
        },
      },
      { counters: 1, differ: 1, corrected: 1 },
    ],
  })
  // Lost: the next request loads it.
  expect(await plant(() => undefined)).toBe(21_000_000n)
  expect(await recalculate()).toEqual({ ...equal, stdout: '0 counters: equal to usage\n' })
  expect(await recalculate('--tenant', 'nobody')).toMatchObject({ code: 1, stderr: 'There is no tenant nobody.\n' })
})

test.each([[[]], [['recount']], [['recalculate', 'now']]])('%j shows how it is used', async (options) => {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()]
  expect(await quotaCommand(options, {}, { stdout, stderr })).toBe(1)
  expect(String(stderr.read())).toContain('Usage: tallyline quota recalculate [--tenant SLUG] [--dry-run] [--json]')
})
