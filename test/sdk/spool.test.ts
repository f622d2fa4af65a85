import { appendFileSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type OpenSpool, openSpool, type SpoolOptions } from '../../sdk/typescript/src/spool.ts'
import { readFrames, writeFrames } from '../../sdk/typescript/src/spool-frames.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'
import { clientOf, until } from './support/client.ts'
import { acceptAll } from './support/scripted-server.ts'

let folder: TempFolder
beforeEach(() => {
  folder = tempFolder()
})
afterEach(() => folder.remove())

const openHere = (options: Partial<SpoolOptions> = {}) => openSpool({ folder: folder.path, ...options })
const files = () => readdirSync(folder.path).filter((name) => name.endsWith('.spool'))
const text = (n: number) => JSON.stringify({ id: `id-${n}`, n })

/** Everything from a place on, as a reader gets it. */
async function readAll(spool: OpenSpool, from = 0): Promise<(string | undefined)[]> {
  const texts: (string | undefined)[] = []
  for (let seq = from; seq < spool.nextSeq; seq = from + texts.length) {
    const some = await spool.readFrom(seq)
    expect(some.map((each) => each.seq)).toEqual(some.map((_, index) => seq + index))
    texts.push(...some.map((each) => each.text))
  }
  return texts
}

describe('frames', () => {
  test('texts come back, and anything cut off or changed ends the reading before it', () => {
    const texts = fc.array(fc.string({ unit: 'grapheme', minLength: 2 }), { minLength: 1, maxLength: 5 })
    fc.assert(
      fc.property(texts, fc.nat(), fc.nat(254), (written, place, change) => {
        const bytes = writeFrames(written)
        expect(readFrames(bytes)).toEqual({ texts: written, cutBytes: 0 })
        const at = place % bytes.length
        const whole = written.filter((_, index) => writeFrames(written.slice(0, index + 1)).length <= at)
        expect(readFrames(bytes.subarray(0, at)).texts).toEqual(whole)
        bytes[at]! ^= change + 1
        expect(readFrames(bytes).texts).toEqual(whole)
      }),
    )
  })

  test('zeros, as a file system may leave them after a power cut, are no frames', () => {
    expect(readFrames(Buffer.alloc(100))).toEqual({ texts: [], cutBytes: 100 })
  })
})

describe('the spool', () => {
  test('gives back to the next process what was not answered for, and to this one too', async () => {
    const first = await openHere({ segmentBytes: 100 })
    for (let n = 0; n < 10; n++) expect(first.append(text(n))).toBe(n)
    expect(await readAll(first)).toEqual(Array.from({ length: 10 }, (_, n) => text(n)))
    expect(first.durable()).toBe(0)
    await first.sync()
    expect(first.durable()).toBe(10)
    expect(await readAll(first, 3)).toEqual(Array.from({ length: 7 }, (_, n) => text(n + 3)))
    first.settle(9)
    await first.close()
    const second = await openHere()
    expect(second.append(text(10))).toBe(second.recovered)
    expect(await readAll(second)).toContain(text(8))
    expect((await readAll(second)).at(-1)).toBe(text(10))
    await second.close()
  })

  test('files whose events were all answered for are deleted', async () => {
    const spool = await openHere({ segmentBytes: 100 })
    for (let n = 0; n < 20; n++) spool.append(text(n))
    await spool.sync()
    const before = files().length
    expect(before).toBeGreaterThan(3)
    for (let n = 0; n < 12; n++) spool.settle(n)
    await expect.poll(() => files().length).toBeLessThan(before)
    for (let n = 12; n < 20; n++) spool.settle(n)
    await spool.close()
    await expect.poll(files).toEqual([])
    expect(spool.stats().bytes).toBe(0)
  })

  test('an answer that comes before the write is remembered', async () => {
    const spool = await openHere()
    spool.append(text(0))
    spool.settle(0)
    await spool.sync()
    expect(spool.durable()).toBe(0)
    await spool.close()
    await expect.poll(files).toEqual([])
  })

  test('a torn end is cut, counted, and not fatal', async () => {
    const first = await openHere()
    for (let n = 0; n < 5; n++) first.append(text(n))
    await first.close()
    const path = join(folder.path, files()[0]!)
    truncateSync(path, readFileSync(path).length - 3)
    const second = await openHere()
    expect(await readAll(second)).toEqual([0, 1, 2, 3].map(text))
    expect(second.stats().cutBytes).toBeGreaterThan(0)
    second.append(text(5))
    await second.close()
    appendFileSync(join(folder.path, files().at(-1)!), 'half a frame')
    writeFileSync(join(folder.path, '000000000099.spool'), '')
    const third = await openHere()
    expect(await readAll(third)).toEqual([0, 1, 2, 3, 5].map(text))
    await third.close()
  })

  test('it takes no more than its bytes, and again when there is room', async () => {
    const spool = await openHere({ maxBytes: 200, segmentBytes: 100 })
    const taken = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => spool.append(text(n))).filter((seq) => seq !== undefined)
    expect(taken.length).toBeLessThan(10)
    await spool.sync()
    expect(spool.stats().bytes).toBeLessThanOrEqual(200)
    expect(spool.append(text(10))).toBeUndefined()
    for (const seq of taken) spool.settle(seq)
    expect(spool.append(text(11))).toBe(taken.length)
    await spool.close()
  })

  test('what cannot be written stays and is written later', async () => {
    const spool = await openHere()
    rmSync(folder.path, { recursive: true })
    spool.append(text(0))
    await expect(spool.sync()).rejects.toThrow('ENOENT')
    expect(spool.durable()).toBe(0)
    expect(await readAll(spool)).toEqual([text(0)])
    mkdirSync(folder.path)
    await spool.sync()
    expect(spool.durable()).toBe(1)
    expect(spool.stats()).toMatchObject({ errors: 1, latestError: expect.stringContaining('ENOENT') })
    await spool.close()
  })

  test('a write that stopped half-way is repeated in a new file: nothing follows a torn end', async () => {
    const first = await openHere()
    first.append(text(0))
    await first.sync()
    const handle = await open(join(folder.path, 'other'), 'w')
    const half = async function (this: FileHandle, bytes: string | Uint8Array) {
      await this.write((bytes as Buffer).subarray(0, bytes.length - 3))
      throw new Error('ENOSPC')
    }
    vi.spyOn(Object.getPrototypeOf(handle) as FileHandle, 'appendFile').mockImplementationOnce(half)
    await handle.close()
    first.append(text(1))
    first.append(text(2))
    await expect(first.sync()).rejects.toThrow('ENOSPC')
    expect(first.durable()).toBe(1)
    await first.sync()
    expect(first.durable()).toBe(3)
    await first.close()
    const second = await openHere()
    expect([...new Set(await readAll(second))]).toEqual([0, 1, 2].map(text))
    expect(second.stats().cutBytes).toBeGreaterThan(0)
    await second.close()
  })
})

describe('a client with a spool', () => {
  test('flush says durable when the disk has it, though the server is away; later the server gets it', async () => {
    let up = false
    const spool = await openHere()
    const client = clientOf((request) => (up ? acceptAll(request) : { status: 503 }), { spool })
    client.emit(3)
    expect(await client.tallyline.flush()).toEqual({ durable: 3, acknowledged: 0, waiting: 3 })
    up = true
    await until(client, () => client.tallyline.stats().waiting === 0)
    expect(await client.tallyline.flush()).toEqual({ durable: 3, acknowledged: 3, waiting: 0 })
    await client.tallyline.close()
  })

  test('more than memory may hold waits on disk, and comes out whole', async () => {
    let up = false
    const spool = await openHere({ segmentBytes: 2_000 })
    const client = clientOf((request) => (up ? acceptAll(request) : { status: 503 }), {
      spool,
      maxWaitingEvents: 10,
      batchEvents: 7,
    })
    const ids = client.emit(500)
    await client.tallyline.flush()
    const { waiting, dropped, bytes } = client.tallyline.stats()
    expect({ waiting, dropped }).toEqual({ waiting: 500, dropped: 0 })
    expect(bytes).toBeLessThan(3_000)
    up = true
    await until(client, () => client.tallyline.stats().waiting === 0)
    const arrived = client.sent.flatMap((request) => request.ids)
    expect([...new Set(arrived)].sort()).toEqual([...ids].sort())
    expect(client.tallyline.stats()).toMatchObject({ emitted: 500, accepted: 500, dropped: 0 })
    await client.tallyline.close()
    await expect.poll(files).toEqual([])
  })

  test('a disk that cannot be read for a while is read later, though nothing more is emitted', async () => {
    const first = await openHere()
    first.append(JSON.stringify({ id: 'id-0', time: '2026-11-21T12:00:00Z' }))
    await first.close()
    const spool = await openHere()
    let failures = 3
    const readFrom: OpenSpool['readFrom'] = async (seq) => {
      if (failures-- > 0) throw new Error('EIO')
      return spool.readFrom(seq)
    }
    const failing = Object.defineProperties({ ...spool, readFrom }, { nextSeq: { get: () => spool.nextSeq } })
    const client = clientOf(acceptAll, { spool: failing })
    await until(client, () => client.tallyline.stats().accepted === 1)
    expect(failures).toBeLessThan(0)
    await spool.close()
  })

  test('what close() could not send is on disk, and the next client sends it', async () => {
    const first = clientOf(() => ({ status: 503 }), { spool: await openHere() })
    const ids = first.emit(5)
    const closed = first.tallyline.close({ timeoutMs: 100 })
    let answer: unknown
    closed.then((flushed) => {
      answer = flushed
    })
    await until(first, () => answer !== undefined)
    expect(answer).toEqual({ durable: 5, acknowledged: 0, waiting: 5 })
    expect(first.dead).toEqual([])
    const second = clientOf(acceptAll, { spool: await openHere() })
    await until(second, () => second.tallyline.stats().waiting === 0)
    expect(second.sent.flatMap((request) => request.ids)).toEqual(ids)
    expect(second.tallyline.stats()).toMatchObject({ emitted: 0, recovered: 5, accepted: 5 })
    const ending = second.tallyline.close()
    await second.clock.pass(1_000)
    await ending
  })
})
