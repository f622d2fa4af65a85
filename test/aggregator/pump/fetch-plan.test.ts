import { ResponseError } from '@platformatic/kafka'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { describedBy } from '../../../aggregator/pump/fetch.kafka.ts'
import { createNodeWork, planFetches } from '../../../aggregator/pump/fetch-plan.ts'

const NOBODY = new Set<number>()

describe('which leader is asked for what', () => {
  test('a partition that nobody leads waits, and all others are asked for (ops/decisions/0011)', () => {
    const positions = new Map([
      [0, 5],
      [1, 7],
      [2, 9],
    ])
    const { asks, leaderless } = planFetches(
      positions,
      new Map([
        [0, 1],
        [2, 2],
      ]),
      NOBODY,
      0,
    )
    expect(leaderless).toEqual([1])
    expect([...asks]).toEqual([
      [1, [{ partition: 0, offset: 5 }]],
      [2, [{ partition: 2, offset: 9 }]],
    ])
  })

  test('every partition is asked for at its leader, or waits for that one alone; each comes first in its turn', () => {
    const partitions = fc.uniqueArray(fc.nat(20), { minLength: 1 })
    const leads = fc.dictionary(fc.nat(20).map(String), fc.nat(3))
    fc.assert(
      fc.property(partitions, leads, fc.uniqueArray(fc.nat(3)), fc.nat(50), (wanted, byPartition, busy, turn) => {
        const leaders = new Map(Object.entries(byPartition).map(([partition, node]) => [Number(partition), node]))
        const positions = new Map(wanted.map((partition) => [partition, partition * 10]))
        const { asks, leaderless } = planFetches(positions, leaders, new Set(busy), turn)
        const asked = [...asks].flatMap(([node, some]) => some.map((one) => ({ ...one, node })))
        const waits = wanted.filter((partition) => busy.includes(leaders.get(partition) ?? -1))
        expect([...asked.map(({ partition }) => partition), ...leaderless, ...waits].sort()).toEqual([...wanted].sort())
        for (const { partition, offset, node } of asked) {
          expect([leaders.get(partition), offset]).toEqual([node, partition * 10])
        }
        const first = wanted[turn % wanted.length]!
        const node = leaders.get(first)
        if (node !== undefined && !busy.includes(node)) expect(asks.get(node)?.[0]?.partition).toBe(first)
      }),
    )
  })
})

test('a leader that never answers is asked once, and the others again and again', async () => {
  const nodes = createNodeWork()
  const leaders = new Map([
    [0, 1],
    [1, 2],
  ])
  const positions = new Map([
    [0, 0],
    [1, 0],
    [2, 0],
  ])
  const asked: number[] = []
  for (let round = 0; round < 5; round++) {
    for (const [node, wanted] of planFetches(positions, leaders, nodes, round).asks) {
      asked.push(node)
      nodes.start(node, async () => {
        if (node === 1) await new Promise(() => undefined)
        for (const { partition, offset } of wanted) positions.set(partition, offset + 1)
      })
    }
    await nodes.any()
  }
  expect([...positions.values()]).toEqual([0, 5, 0])
  expect(asked.filter((node) => node === 1)).toHaveLength(1)
})

describe('what the broker said of a topic of which the client refuses the description', () => {
  const METADATA = 3
  const partition = (partitionIndex: number, leaderId: number) => {
    const errorCode = leaderId < 0 ? 5 : 0
    return { errorCode, partitionIndex, leaderId, leaderEpoch: 1, replicaNodes: [], isrNodes: [], offlineReplicas: [] }
  }
  const refusal = (topic: object) => {
    const response = { brokers: [], topics: [topic] }
    return new ResponseError(METADATA, 12, { '/topics/0/partitions/1': [5, null] }, response)
  }

  test('is the leaders of the partitions that have one', () => {
    const partitions = [partition(0, 3), partition(1, -1), partition(2, 4)]
    const error = refusal({ errorCode: 0, name: 'log', topicId: 'id', partitions })
    expect(error.message).toContain('Received response with error')
    expect(describedBy(error, 'log')).toEqual({
      id: 'id',
      leaders: new Map([
        [0, 3],
        [2, 4],
      ]),
    })
  })

  test('is nothing when the topic itself is not known, or the error is another', () => {
    expect(describedBy(refusal({ errorCode: 3, name: 'log', topicId: '', partitions: [] }), 'log')).toBeUndefined()
    expect(describedBy(new Error('no connection'), 'log')).toBeUndefined()
  })
})
