import { ConnectionPool, createAPI, fetchV15, type Reader } from '@platformatic/kafka'
import { brokerSettings } from '../../../schemas/event/broker-settings.kafka.ts'
import type { Aborted } from './record-batches.ts'

export type FetchedPartition = {
  partition: number
  /** Not 0: the broker gives nothing of it, and says so in its own number. */
  errorCode: number
  /** The topic no longer, or not yet, has the offset that was asked for. */
  outOfRange: boolean
  /** Batches as they lie in the topic: unpacking them is bounded by whoever does it. */
  bytes: Buffer
  aborted: Aborted[]
}

type Wanted = { topicId: string; positions: readonly { partition: number; offset: number }[] }
export type Fetcher = ReturnType<typeof openFetcher>

const MOST_BYTES = 4 * 1024 ** 2
const MOST_BYTES_OF_A_PARTITION = 1024 ** 2
const WAIT_MS = 500
const READ_COMMITTED = 1
const OFFSET_OUT_OF_RANGE = 1
const FETCH = 1
/** From Kafka 3.5 on; its topics have ids. */
const VERSION = 15
const NOTHING = Buffer.alloc(0)

const fetchBytes = createAPI<Parameters<typeof fetchV15.createRequest>, FetchedPartition[]>(
  FETCH,
  VERSION,
  fetchV15.createRequest,
  parseAnswer,
)

/** Fetches without unpacking, on connections of its own: a join holds its connection up. */
export function openFetcher(brokers: string[]) {
  const { clientId, connectTimeout, requestTimeout } = brokerSettings(brokers)
  const pool = new ConnectionPool(clientId, { connectTimeout, requestTimeout })
  // Whoever waits for a connection is told by its call; what nobody waits for is no news.
  pool.on('connecting', ({ connection }: { connection: { on(event: 'error', listen: () => void): unknown } }) =>
    connection.on('error', () => undefined),
  )
  return {
    fetch: async (leader: { host: string; port: number }, { topicId, positions }: Wanted) => {
      const connection = await pool.get(leader)
      const partitions = positions.map(({ partition, offset }) => ({
        partition,
        currentLeaderEpoch: -1,
        fetchOffset: BigInt(offset),
        lastFetchedEpoch: -1,
        partitionMaxBytes: MOST_BYTES_OF_A_PARTITION,
      }))
      const topics = [{ topicId, partitions }]
      return fetchBytes.async(connection, WAIT_MS, 1, MOST_BYTES, READ_COMMITTED, 0, 0, topics, [], '')
    },
    close: () => pool.close(),
  }
}

/** As the protocol writes it; see the client's own fetch-v15, which unpacks and parses the records at once. */
function parseAnswer(_correlationId: number, _apiKey: number, _apiVersion: number, reader: Reader): FetchedPartition[] {
  reader.readInt32() // throttled
  const failed = reader.readInt16()
  if (failed !== 0) throw new Error(`Kafka gives nothing: its error ${failed}`)
  reader.readInt32() // session
  return reader
    .readArray((topic: Reader) => {
      topic.readUUID()
      return topic.readArray(readPartition)
    })
    .flat()
}

function readPartition(reader: Reader): FetchedPartition {
  const partition = reader.readInt32()
  const errorCode = reader.readInt16()
  reader.readInt64() // high watermark
  reader.readInt64() // last stable offset
  reader.readInt64() // first offset, which an answer about an offset out of range does not have
  const aborted =
    reader.readArray((one: Reader) => ({ producerId: one.readInt64(), firstOffset: one.readInt64() })) ?? []
  reader.readInt32() // preferred replica
  const bytes = reader.readNullableBytes() ?? NOTHING
  const outOfRange = errorCode === OFFSET_OUT_OF_RANGE
  return { partition, errorCode: outOfRange ? 0 : errorCode, outOfRange, bytes, aborted }
}
