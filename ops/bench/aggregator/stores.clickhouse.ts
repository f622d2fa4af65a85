import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { createClient } from '@clickhouse/client'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { openChdb } from '../../embedded/chdb.clickhouse.ts'
import { openClickHouse } from '../../stores/clickhouse-http.clickhouse.ts'
import { type FigureInput, serversIn } from '../figure.ts'

/** Our store, and the shortest way into the same ClickHouse. */
export type Stores = {
  store: ClickHouseStore
  floor: string
  /** Inserts the rows of an Avro file into PLAIN_TABLE. */
  insertBare(file: Buffer): Promise<unknown>
  close(): Promise<void>
}

/** As durable and in the same order as ours, without anything that collapses. */
export const PLAIN_TABLE = `CREATE TABLE IF NOT EXISTS bench_plain (
  tenant UInt32, source String, id String, shard UInt64, type LowCardinality(String), subject String,
  time DateTime64(3, 'UTC'), time_given Bool, data String
) ENGINE = MergeTree ORDER BY (tenant, shard, source, id) SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`

const CHDB_CONNECTIONS = 2
const FLOOR = 'bare INSERT of the same events as Avro into a plain MergeTree'

export async function openBenchStores(input: FigureInput): Promise<Stores> {
  return input.servers ? openServer(serversIn(input).env.CLICKHOUSE_URL) : openEmbedded(input.folder)
}

/** chDB takes no body, so the file stands on disk for both. */
async function openEmbedded(folder: string): Promise<Stores> {
  const store = await openChdb(join(folder, 'clickhouse'), CHDB_CONNECTIONS)
  const path = join(folder, 'bare.avro')
  return {
    store,
    floor: FLOOR,
    insertBare: async (file) => {
      await writeFile(path, file)
      await store.command(`INSERT INTO bench_plain SELECT * FROM file('${path}', 'Avro')`)
    },
    close: () => store.close(),
  }
}

function openServer(url: string): Stores {
  const store = openClickHouse(url)
  const client = createClient({ url })
  return {
    store,
    floor: FLOOR,
    insertBare: async (file) => {
      const values = Readable.from([file], { objectMode: false })
      const { stream } = await client.exec({ query: 'INSERT INTO bench_plain FORMAT Avro', values })
      const answer = await text(stream)
      if (answer) throw new Error(`The bare insert failed: ${answer.slice(0, 500)}`)
    },
    close: async () => {
      await client.close()
      await store.close()
    },
  }
}
