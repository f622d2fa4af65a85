import { createRecordsBatch, type MessageRecord } from '@platformatic/kafka'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import type { FetchedPartition } from '../../../../ingest/doors/kafka/fetch.kafka.ts'
import { fetchAndTake, type InputSink, type Life } from '../../../../ingest/doors/kafka/fetch-and-take.ts'
import type { Portion } from '../../../../ingest/doors/kafka/portions.ts'

const BROKER = { host: 'there', port: 1 }

function batch(firstOffset: number, count: number): Buffer {
  const messages = Array.from({ length: count }, (_, n) => ({
    topic: 't',
    value: Buffer.from(String(firstOffset + n)),
  }))
  const bytes = Buffer.from(createRecordsBatch(messages as unknown as MessageRecord[]).buffer)
  bytes.writeBigInt64BE(BigInt(firstOffset), 0)
  return bytes
}

type Broker = {
  /** Partitions by their leader; without one it is -1. */
  leaders: number[]
  /** What the broker says instead of records. */
  errors?: Record<number, number>
  /** Brokers that nobody reaches. */
  away?: number[]
  /** So many partitions an answer holds, in the order in which they were asked for. */
  most?: number
}

/** A membership of the partitions there are, and brokers whose partitions all hold five records. */
function lifeOf(broker: Broker, take: InputSink['take'] = async (_, portion) => portion.next) {
  const committed: string[] = []
  const asked: number[][] = []
  const lost = new Set<number>()
  let forgotten = 0
  const life: Life = {
    input: { topic: 't', tenantId: 1, tenantSlug: 'a', format: 'json', schemas: [], backfill: false, paused: false },
    sink: { take, logger: pino({ level: 'silent' }) },
    positions: new Map(broker.leaders.map((_, partition) => [partition, 0])),
    waiting: new Map(),
    stopping: () => false,
    member: {
      check: () => undefined,
      moved: async () => undefined,
      owns: (partition) => !lost.has(partition),
      topic: async () => ({
        id: 'id',
        partitions: broker.leaders.map((leader) => ({ leader })),
        brokers: new Map([0, 1].map((node) => [node, { ...BROKER, port: node }])),
      }),
      forgetLeaders: () => {
        forgotten++
      },
      range: async () => ({ first: 0, end: 5 }),
      commit: async (partition, next) => {
        committed.push(`${partition}:${next}`)
      },
      leave: async () => undefined,
    },
    fetcher: {
      fetch: async ({ port }, { positions }) => {
        if (broker.away?.includes(port)) throw new Error('nobody there')
        asked.push(positions.map(({ partition }) => partition))
        let room = broker.most ?? positions.length
        return positions.map(({ partition, offset }): FetchedPartition => {
          const errorCode = broker.errors?.[partition] ?? 0
          const gives = errorCode === 0 && room-- > 0
          const bytes = gives ? batch(offset, 5) : Buffer.alloc(0)
          return { partition, errorCode, outOfRange: false, bytes, aborted: [] }
        })
      },
    },
  }
  return { life, committed, asked, lost, forgotten: () => forgotten }
}

describe('partitions of one topic', () => {
  test('take turns where an answer does not hold them all: none starves behind the others', async () => {
    const { life } = lifeOf({ leaders: [0, 0, 0, 0], most: 1 })
    for (let pass = 0; pass < 8; pass++) await fetchAndTake(life)
    expect([...life.positions].sort()).toEqual([0, 1, 2, 3].map((partition) => [partition, 10]))
  })

  test.each<[string, Broker]>([
    ['has no leader', { leaders: [0, -1, 0] }],
    ['is refused, again and again', { leaders: [0, 0, 0], errors: { 1: 56 } }],
    ['lies on a broker that is away', { leaders: [0, 1, 0], away: [1] }],
  ])('go on while one of them %s; it waits, and its leader is asked for again', async (_, broker) => {
    const { life, committed, forgotten } = lifeOf(broker)
    expect(await fetchAndTake(life)).toBe(true)
    expect(await fetchAndTake(life)).toBe(true)
    expect(committed).toEqual(['0:5', '2:5', '0:10', '2:10'])
    expect([...life.waiting]).toMatchObject([[1, { failed: 'fetch' }]])
    expect(forgotten()).toBe(1)
  })

  test('of which none can be fetched end the membership: nothing of it works', async () => {
    const { life } = lifeOf({ leaders: [0, -1], errors: { 0: 3 } })
    await expect(fetchAndTake(life)).rejects.toThrow('Nothing can be fetched')
  })

  test('of which none is ours are no success', async () => {
    const { life } = lifeOf({ leaders: [] })
    expect(await fetchAndTake(life)).toBe(false)
  })

  test('one that can be fetched again waits no more', async () => {
    const broker: Broker = { leaders: [0, -1] }
    const { life } = lifeOf(broker)
    await fetchAndTake(life)
    life.waiting.set(1, { failed: 'fetch', failures: 3, untilMs: 0 })
    broker.leaders = [0, 0]
    await fetchAndTake(life)
    expect([...life.waiting.keys()]).toEqual([])
    expect(life.positions.get(1)).toBe(5)
  })
})

describe('invariant 2: progress is recorded after the records are taken', () => {
  test('part by part: what follows a part that was taken may fail, and comes again alone', async () => {
    const seen: string[] = []
    let away = true
    const take = async (_: unknown, { first, next, records }: Portion) => {
      seen.push(`${first}-${next}: ${records.map(({ offset }) => offset)}`)
      if (away && first === 2) throw new Error('not now')
      return Math.min(first + 2, next)
    }
    const { life, committed } = lifeOf({ leaders: [0] }, take)
    await fetchAndTake(life)
    expect(committed).toEqual(['0:2'])
    expect(life.positions.get(0)).toBe(2)
    away = false
    life.waiting.clear()
    await fetchAndTake(life)
    expect(seen.slice(0, 2)).toEqual(['0-5: 0,1,2,3,4', '2-5: 2,3,4'])
    expect(committed.slice(0, 4)).toEqual(['0:2', '0:4', '0:6', '0:7'])
  })

  test('a partition that became another’s while it was taken is not committed: the other may be further', async () => {
    const { life, committed, lost } = lifeOf({ leaders: [0] }, async (_, portion) => {
      lost.add(0)
      return portion.next
    })
    await fetchAndTake(life)
    expect(committed).toEqual([])
  })
})
