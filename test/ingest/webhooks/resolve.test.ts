import { lookup } from 'node:dns/promises'
import { readFile } from 'node:fs/promises'
import { afterEach, expect, test } from 'vitest'
import { type Resolve, resolverOf } from '../../../ingest/webhooks/resolve.ts'
import { type Addresses, openNameServer } from './name-server.ts'

const open: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
})

async function asking(addresses: Addresses | 'dead'): Promise<Resolve> {
  const server = await openNameServer(addresses)
  open.push(server)
  return resolverOf([server.address])
}
const ask = (resolve: Resolve) =>
  new Promise((done) => resolve('a.example', (error, addresses) => done(error?.code ?? addresses)))

test('a name has all its addresses, of both families', async () => {
  const [four, six] = [
    ['8.8.8.8', '8.8.4.4'],
    ['2606:4700:4700:0:0:0:0:1111', '2001:db8:0:0:0:0:0:1'],
  ]
  const addresses = await ask(await asking({ 4: four, 6: six }))
  expect(new Set(addresses as object[])).toEqual(
    new Set([
      { address: '8.8.8.8', family: 4 },
      { address: '8.8.4.4', family: 4 },
      { address: '2606:4700:4700::1111', family: 6 },
      { address: '2001:db8::1', family: 6 },
    ]),
  )
  expect(await ask(await asking({ 4: ['8.8.8.8'] }))).toEqual([{ address: '8.8.8.8', family: 4 }])
  expect(await ask(await asking({ 6: ['2001:db8:0:0:0:0:0:1'] }))).toEqual([{ address: '2001:db8::1', family: 6 }])
})

test('a name without any is a failure', async () => {
  expect(await ask(await asking({}))).toBe('ENODATA')
})

/** dns.lookup would occupy the threads that read files, hash, and look up names for everybody else: there are four. */
test('forty names whose servers are dead hold up nobody else, and come to an end', { timeout: 120_000 }, async () => {
  const dead = await asking('dead')
  const ended: unknown[] = []
  for (let n = 0; n < 40; n++) void ask(dead).then((code) => ended.push(code))
  await lookup('localhost')
  expect((await readFile(import.meta.filename)).length).toBeGreaterThan(0)
  expect(ended).toEqual([])
  await expect.poll(() => ended.length, { timeout: 100_000 }).toBe(40)
  expect(new Set(ended)).toEqual(new Set(['ETIMEOUT']))
})
