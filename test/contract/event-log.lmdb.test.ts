import { join } from 'node:path'
import type { Database } from 'lmdb'
import { createLmdbLogReader } from '../../aggregator/pump/event-log.lmdb.ts'
import { createLmdbLogWriter } from '../../ingest/append/event-log.lmdb.ts'
import { openLmdb } from '../../ops/embedded/lmdb.ts'
import type { EmbeddedLogKey } from '../../schemas/event/embedded-log.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { type BreakablePlace, describeLogFaults, type Fault } from './event-log.faults.ts'
import { killed, startScript } from './event-log.killed.ts'
import { describeEventLog } from './event-log.ts'

type LogDatabase = Database<Buffer, EmbeddedLogKey>

async function newPlace(): Promise<BreakablePlace> {
  const folder = tempFolder()
  return {
    open: async (now = Date.now, fault = () => 'none') => {
      const lmdb = await openLmdb(join(folder.path, 'log'), join(folder.path, 'quota'))
      return {
        writer: createLmdbLogWriter(breaking(lmdb.log, fault), lmdb.logId, 3, now),
        reader: createLmdbLogReader(lmdb.log, lmdb.logId, 3),
        close: lmdb.close,
      }
    },
    appendAndBeKilled: (text) => killed(startScript('append-and-be-killed.ts', text, 'lmdb', folder.path)),
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
describeLogFaults('lmdb', newPlace)
