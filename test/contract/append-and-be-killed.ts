import { join } from 'node:path'
import { createLmdbLogWriter } from '../../ingest/append/event-log.lmdb.ts'
import { openLmdb } from '../../ops/embedded/lmdb.ts'

/** `node --import tsx append-and-be-killed.ts FOLDER TEXT`: appends TEXT and dies by SIGKILL once it is acknowledged. */
const [folder, text] = process.argv.slice(2)
if (!folder || !text) throw new Error('Usage: append-and-be-killed.ts FOLDER TEXT')
const lmdb = await openLmdb(join(folder, 'log'), join(folder, 'quota'))
const writer = createLmdbLogWriter(lmdb.log, lmdb.logId, 3, Date.now)
await writer.append([{ partition: 0, record: Buffer.from(text) }])
process.kill(process.pid, 'SIGKILL')
