import { Writable } from 'node:stream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createAuthenticator } from '../../../ops/access/authenticate.ts'
import { keysCommand } from '../../../ops/cli/keys.command.ts'
import { createCustomer } from '../../support/customers.ts'
import { askPostgresAt } from '../../support/product.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

let database: TestDatabase
let acme: string
beforeAll(async () => {
  database = await createTestDatabase()
  acme = await createCustomer(database.pool, await database.createTenant('shop'), 'acme', ['a-1'])
})
afterAll(() => database.drop())

/** What the command prints, on the database as a server; the caller that its key is. */
async function create(...argv: string[]) {
  const printed = { stdout: '', stderr: '' }
  const stream = (name: 'stdout' | 'stderr') =>
    new Writable({
      write: (chunk, _encoding, done) => {
        printed[name] += String(chunk)
        done()
      },
    })
  const streams = { stdout: stream('stdout'), stderr: stream('stderr') }
  const code = await keysCommand(['create', ...argv], { DATABASE_URL: database.ownerUrl }, streams)
  const { authenticate } = createAuthenticator({ pool: database.pool, now: () => 0 })
  return { code, ...printed, caller: await authenticate(`Bearer ${printed.stdout.trim()}`) }
}
const READ = ['--tenant', 'shop', '--permissions', 'billing:usage:read']
const keys = async () =>
  (await askPostgresAt<{ n: number }>(database.ownerUrl, 'SELECT count(*)::int AS n FROM api_keys'))[0]?.n

test('keys create makes a key of a customer’s usage, of subjects’ usage, or of all (HC-8)', async () => {
  expect(await create(...READ, '--customer', 'acme')).toMatchObject({ code: 0, caller: { scope: { customer: acme } } })
  expect(await create(...READ, '--subject', 'a-1', '--subject', 'x')).toMatchObject({
    caller: { tenantSlug: 'shop', operator: false, scope: { subjects: ['a-1', 'x'] } },
  })
  expect(await create(...READ)).toMatchObject({ caller: { scope: 'everything' } })
})

test('where the scope cannot be as asked for, it makes no key at all', async () => {
  expect(await keys()).toBe(3)
  const refusals: [string[], RegExp][] = [
    [[...READ, '--customer', 'nobody'], /scope.customer is no external key or id/],
    [[...READ, '--customer', 'acme', '--subject', 'a-1'], /either a customer or subjects/],
    [[...READ, '--subject', ''], /scope.subjects.0 must have/],
    [
      ['--permissions', 'billing:usage:read,billing:usage:create', '--subject', 'a-1'],
      /a key with a scope cannot hold/,
    ],
    // Without a tenant these would make an operator key.
    [['--permissions', 'billing:keys:create', '--subject', 'a-1'], /only operator keys hold it/],
  ]
  for (const [argv, said] of refusals) await expect(create(...argv)).rejects.toThrow(said)
  expect(await keys()).toBe(3)
})
