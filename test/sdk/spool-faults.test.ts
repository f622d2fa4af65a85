import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type OpenSpool, openSpool, type SpoolOptions } from '../../sdk/typescript/src/spool.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'
import { clientOf, until } from './support/client.ts'
import { acceptAll } from './support/scripted-server.ts'
import { virtualClock } from './support/virtual-clock.ts'

let folder: TempFolder
beforeEach(() => {
  folder = tempFolder()
})
afterEach(() => folder.remove())

const openHere = (options: Partial<SpoolOptions> = {}) => openSpool({ folder: folder.path, ...options })
const files = (ending = '.spool') => readdirSync(folder.path).filter((name) => name.endsWith(ending))
const text = (n: number) => JSON.stringify({ id: `id-${n}`, time: '2026-11-21T12:00:00Z', n })

/** Leaves events in files of two each, as a process that ended would. */
async function leave(count: number): Promise<void> {
  const spool = await openHere({ segmentBytes: 100 })
  for (let n = 0; n < count; n++) spool.append(text(n))
  await spool.close()
}

/** As the spool, but for some functions of it. */
function changed(spool: OpenSpool, functions: Partial<OpenSpool>): OpenSpool {
  return Object.defineProperties({ ...spool, ...functions }, { nextSeq: { get: () => spool.nextSeq } })
}

/** Issue 6: every event ends in one outcome and is told, whatever the disk does. */
describe('what the spool lost is told, and what follows is sent', () => {
  test.each([
    ['a file that is gone', (path: string) => rmSync(path)],
    ['a file of other bytes', (path: string) => writeFileSync(path, Buffer.alloc(readFileSync(path).length, 7))],
  ])('%s while the service runs', async (_name, spoil) => {
    await leave(6)
    const [first = '', second = '', third = ''] = files()
    expect(third).not.toBe('')
    const spool = await openHere()
    spoil(join(folder.path, second))
    const client = clientOf(acceptAll, { spool })
    const lost = [2, 3]
    await until(client, () => client.tallyline.stats().waiting === 0)
    expect(client.sent.flatMap(({ ids }) => ids)).toEqual([0, 1, 4, 5].map((n) => `id-${n}`))
    expect(client.dead.map(({ code }) => code)).toEqual(lost.map(() => 'spool_damaged'))
    expect(client.tallyline.stats()).toMatchObject({ recovered: 6, accepted: 4, dead: 2, dropped: 0, waiting: 0 })
    const [id] = client.emit(1)
    await until(client, () => client.tallyline.stats().waiting === 0)
    expect(client.sent.at(-1)?.ids).toEqual([id])
    await expect.poll(() => files()).not.toContain(first)
    await spool.close()
  })

  test('a text that is no event goes to onDead as it is', async () => {
    const left = await openHere()
    for (const each of ['no json', '{"id":7}', text(0)]) left.append(each)
    await left.close()
    const spool = await openHere()
    const client = clientOf(acceptAll, { spool })
    await until(client, () => client.tallyline.stats().waiting === 0)
    expect(client.dead).toMatchObject([{ event: 'no json' }, { event: '{"id":7}', code: 'spool_damaged' }])
    expect(client.tallyline.stats()).toMatchObject({ recovered: 3, accepted: 1, dead: 2 })
    await spool.close()
  })

  test('a file that cannot be read at all is kept under another name', async () => {
    await leave(2)
    const [name = ''] = files()
    writeFileSync(join(folder.path, name), 'other bytes')
    writeFileSync(join(folder.path, 'notes.spool'), 'of somebody else')
    const spool = await openHere()
    expect(spool.recovered).toBe(0)
    await expect.poll(() => files('.damaged')).toEqual([`${name}.damaged`])
    expect(readFileSync(join(folder.path, `${name}.damaged`), 'utf8')).toBe('other bytes')
    expect(files()).toEqual(['notes.spool'])
    expect(spool.stats()).toMatchObject({ bytes: 0, files: 0, cutBytes: 11 })
    await spool.close()
  })
})

describe('a disk that cannot be read', () => {
  test('is seen in stats, and asked again each second, not all the time', async () => {
    await leave(1)
    const spool = await openHere()
    let failures = 0
    const readFrom: OpenSpool['readFrom'] = async (seq) => {
      if (++failures < 4) throw new Error('EIO')
      return spool.readFrom(seq)
    }
    const client = clientOf(acceptAll, { spool: changed(spool, { readFrom }) })
    const timers = vi.spyOn(client.clock, 'after')
    // It waits behind the first, in the spool alone.
    client.emit(1)
    await client.clock.pass(2_500)
    expect(failures).toBe(3)
    expect(client.tallyline.stats()).toMatchObject({ waiting: 2, latestError: 'spool: EIO' })
    expect(timers.mock.calls.length).toBeLessThan(20)
    await until(client, () => client.tallyline.stats().accepted === 2)
    await spool.close()
  })
})

describe('a disk that cannot be written', () => {
  test('is tried again each second, however much comes in', async () => {
    const clock = virtualClock()
    const spool = await openHere({ clock })
    rmSync(folder.path, { recursive: true })
    spool.append(text(0))
    await expect(spool.sync()).rejects.toThrow('ENOENT')
    for (let n = 1; n < 25; n++) {
      spool.append(text(n))
      await clock.pass(20)
      await sleep(2)
    }
    expect(spool.stats().errors).toBe(1)
    mkdirSync(folder.path)
    await clock.pass(1_000)
    await expect.poll(() => spool.durable()).toBe(25)
    await spool.close()
  })

  test('close() ends though the disk hangs or its spool fails', async () => {
    const spool = await openHere()
    const never = () => new Promise<never>(() => undefined)
    const broken = () => Promise.reject(new Error('EIO'))
    for (const fault of [never, broken]) {
      const client = clientOf(() => ({ status: 503 }), { spool: changed(spool, { sync: fault, close: fault }) })
      client.emit(1)
      let ended: unknown
      client.tallyline.close({ timeoutMs: 100 }).then((flushed) => {
        ended = flushed
      })
      await client.clock.pass(100 + 2_100)
      expect(ended).toMatchObject({ acknowledged: 0 })
    }
    await spool.close()
  })
})

describe('a spool smaller than a file', () => {
  test('takes events again when those before them were answered for', async () => {
    const spool = await openHere({ maxBytes: 400 })
    const large = 'x'.repeat(250)
    for (let round = 0; round < 10; round++) {
      const seq = spool.append(large)
      expect(seq).toBe(round)
      expect(spool.append(large)).toBeUndefined()
      await spool.sync()
      expect(spool.append(large)).toBeUndefined()
      spool.settle(round)
    }
    await spool.close()
    await expect.poll(() => files()).toEqual([])
  })

  test('closes the file that is written to at a quarter of its room', async () => {
    const spool = await openHere({ maxBytes: 4_000 })
    for (let n = 0; n < 50; n++) {
      expect(spool.append(text(n))).toBe(n)
      await spool.sync()
      spool.settle(n)
      expect(spool.stats().bytes).toBeLessThan(1_200)
    }
    await spool.close()
  })
})
