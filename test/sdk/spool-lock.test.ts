import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { openSpool } from '../../sdk/typescript/src/spool.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'

let folder: TempFolder
beforeEach(() => {
  folder = tempFolder()
})
afterEach(() => folder.remove())

const openHere = () => openSpool({ folder: folder.path })
const claims = () => readdirSync(folder.path).filter((name) => name.startsWith('owner-'))
const claim = (owner: object) => writeFileSync(join(folder.path, 'owner-0f.json'), JSON.stringify(owner))
const REFUSED = 'give every process a folder of its own'

test('a folder has one owner, also when another copy of the module asks', async () => {
  const spool = await openHere()
  await expect(openHere()).rejects.toThrow(REFUSED)
  vi.resetModules()
  const copy: { openSpool: typeof openSpool } = await import('../../sdk/typescript/src/spool.ts')
  expect(copy.openSpool).not.toBe(openSpool)
  await expect(copy.openSpool({ folder: folder.path })).rejects.toThrow(REFUSED)
  expect(claims()).toHaveLength(1)
  await spool.close()
  expect(claims()).toEqual([])
})

test('of those that come at once never two become the owner, and none leaves a claim behind', async () => {
  for (let round = 0; round < 20; round++) {
    const opened = await Promise.allSettled([openHere(), openHere(), openHere()])
    const owners = opened.filter((each) => each.status === 'fulfilled')
    expect(owners.length).toBeLessThanOrEqual(1)
    expect(claims()).toHaveLength(owners.length)
    for (const { value } of owners) await value.close()
  }
  await (await openHere()).close()
})

test('another process that lives keeps the folder; one that does not leaves it', async () => {
  // Process 1 lives, and is not this one.
  claim({ host: hostname(), pid: 1 })
  await expect(openHere()).rejects.toThrow('process 1')
  claim({ host: hostname(), pid: 2 ** 22 + 1 })
  await (await openHere()).close()
  expect(claims()).toEqual([])
})

/** In a container every process has the same pid as the one before it. */
test('after a crash the pid may be another process’s: it is told apart by when it began', async () => {
  const spool = await openHere()
  const owner: object = JSON.parse(readFileSync(join(folder.path, claims()[0]!), 'utf8'))
  await spool.close()
  claim(owner)
  await expect(openHere()).rejects.toThrow(`process ${process.pid}`)
  claim({ ...owner, started: '1' })
  await (await openHere()).close()
  claim({ ...owner, boot: 'an earlier one' })
  await (await openHere()).close()
})

test('a claim that was cut off in the middle holds up nobody', async () => {
  writeFileSync(join(folder.path, 'owner-0f.json'), '{"host":')
  await (await openHere()).close()
  expect(claims()).toEqual([])
})

test('a folder that cannot be read leaves no claim behind', async () => {
  mkdirSync(join(folder.path, '000000000001.spool'))
  await expect(openHere()).rejects.toThrow('EISDIR')
  expect(claims()).toEqual([])
})
