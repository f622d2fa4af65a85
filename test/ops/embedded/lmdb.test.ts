import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type EmbeddedLmdb, openLmdb } from '../../../ops/embedded/lmdb.ts'
import { encodeLogValue } from '../../../schemas/event/embedded-log.ts'
import { type TempFolder, tempFolder } from '../../support/temp-folder.ts'

let folder: TempFolder
let lmdb: EmbeddedLmdb

const open = () => openLmdb(join(folder.path, 'log'), join(folder.path, 'quota'))
const bootFile = () => join(folder.path, 'quota', 'booted-at')

/** Closed, changed by something, opened again. */
async function reopened(meanwhile: () => void): Promise<void> {
  await lmdb.close()
  meanwhile()
  lmdb = await open()
}

beforeEach(async () => {
  folder = tempFolder()
  lmdb = await open()
  await lmdb.log.put([0, 0], encodeLogValue(1, Buffer.from('kept')))
  await lmdb.quota.put('used', '5')
})
afterEach(async () => {
  await lmdb.close()
  folder.remove()
})

const logged = () => lmdb.log.get([0, 0])?.subarray(8).toString()

describe('the embedded log and counters', () => {
  test('are there again when they are opened again, under the same name', async () => {
    const { logId } = lmdb
    expect(logId).not.toBe('')
    await reopened(() => undefined)
    expect([lmdb.logId, logged(), lmdb.quota.get('used')]).toEqual([logId, 'kept', '5'])
  })

  test('every log has a name of its own: its progress is never another’s', async () => {
    const elsewhere = tempFolder()
    const other = await openLmdb(join(elsewhere.path, 'log'), join(elsewhere.path, 'quota'))
    expect(other.logId).not.toBe(lmdb.logId)
    await other.close()
    elsewhere.remove()
  })
})

describe('after the machine went down', () => {
  test.each([-3_600, 3_600, 60])(
    'counters are forgotten (booted %i s apart), for they are not flushed; the log stays',
    async (apart) => {
      const { logId } = lmdb
      await reopened(() => writeFileSync(bootFile(), String(Number(readFileSync(bootFile(), 'utf8')) + apart)))
      expect([lmdb.logId, logged(), lmdb.quota.get('used')]).toEqual([logId, 'kept', undefined])
      await lmdb.quota.put('used', '6')
      await reopened(() => undefined)
      expect(lmdb.quota.get('used')).toBe('6')
    },
  )

  test('a clock that was put right by seconds is no reboot', async () => {
    await reopened(() => writeFileSync(bootFile(), String(Number(readFileSync(bootFile(), 'utf8')) - 4)))
    expect(lmdb.quota.get('used')).toBe('5')
  })

  test.each(['', 'not a time'])('counters are forgotten when nobody knows: %j', async (text) => {
    await reopened(() => writeFileSync(bootFile(), text))
    expect(lmdb.quota.get('used')).toBeUndefined()
  })
})
