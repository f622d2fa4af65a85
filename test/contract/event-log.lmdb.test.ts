import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Database } from 'lmdb'
import { expect } from 'vitest'
import { createLmdbLogReader } from '../../aggregator/pump/event-log.lmdb.ts'
import { createLmdbLogWriter } from '../../ingest/append/event-log.lmdb.ts'
import { openLmdb } from '../../ops/embedded/lmdb.ts'
import type { EmbeddedLogKey } from '../../schemas/event/embedded-log.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { describeEventLog, type Fault, type LogPlace } from './event-log.ts'

type LogDatabase = Database<Buffer, EmbeddedLogKey>

async function newPlace(): Promise<LogPlace> {
  const folder = tempFolder()
  return {
    open: async (now, fault) => {
      const lmdb = await openLmdb(join(folder.path, 'log'), join(folder.path, 'quota'))
      return {
        writer: createLmdbLogWriter(breaking(lmdb.log, fault), lmdb.logId, 3, now),
        reader: createLmdbLogReader(lmdb.log, lmdb.logId, 3),
        close: lmdb.close,
      }
    },
    appendAndBeKilled: async (text) => {
      const script = join(import.meta.dirname, 'append-and-be-killed.ts')
      const child = spawn(process.execPath, ['--import', 'tsx', script, folder.path, text], { stdio: 'inherit' })
      const [, signal] = (await once(child, 'exit')) as [number | null, string | null]
      expect(signal).toBe('SIGKILL')
    },
    remove: async () => folder.remove(),
  }
}

/** The database as the writer sees it, which breaks where it is told to. */
function breaking(db: LogDatabase, fault: () => Fault): LogDatabase {
  let puts = 0
  const broken = async () => Promise.reject(new Error('planted'))
  return new Proxy(db, {
    get: (target, name) => {
      if (name === 'childTransaction' && fault() === 'begin') return broken
      if (name === 'put' && fault() === 'half-way' && ++puts % 2 === 0) throw new Error('planted')
      if (name === 'flushed' && fault() === 'flush') return broken()
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

describeEventLog('lmdb', newPlace)
