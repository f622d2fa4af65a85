import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { open } from 'lmdb'
import { createLmdbLogWriter } from '../../../ingest/append/event-log.lmdb.ts'
import { openLmdb } from '../../embedded/lmdb.ts'
import type { FigureInput } from '../figure.ts'
import type { Logs } from './log.ts'

const PARTITIONS = 4

export async function openLmdbLogs({ folder }: FigureInput): Promise<Logs> {
  const lmdb = await openLmdb(join(folder, 'log'), join(folder, 'quota'))
  mkdirSync(join(folder, 'bare'))
  const bare = open<Buffer, number>({ path: join(folder, 'bare'), encoding: 'binary', compression: false })
  let key = 0
  return {
    writer: createLmdbLogWriter(lmdb.log, lmdb.logId, PARTITIONS, Date.now),
    floor: 'bare lmdb, put and flushed',
    sendBare: async (records) => {
      const puts = records.map(({ record }) => bare.put(key++, record))
      await Promise.all(puts)
      await bare.flushed
    },
    close: async () => {
      await bare.close()
      await lmdb.close()
    },
  }
}
