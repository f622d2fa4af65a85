import { createServer } from 'node:net'
import { Consumer, kMetadata, ResponseError } from '@platformatic/kafka'
import { expect, onTestFinished, test } from 'vitest'
import { bearLeaderless } from '../../../../ingest/doors/kafka/leaderless.kafka.ts'
import { leaveGroup } from '../../../../ingest/doors/kafka/membership.kafka.ts'

type Close = Consumer['close']
const open = (port = 1): Consumer<Buffer, Buffer, Buffer, Buffer> =>
  new Consumer({ clientId: 'test', groupId: 'test', bootstrapBrokers: [`127.0.0.1:${port}`], retries: 0 })

/** The client keeps its connections where it cannot leave: each membership that was lost would leave some behind. */
test.each<[string, (done: (error: Error) => void) => void]>([
  ['fails', (done) => done(new Error('the coordinator is away'))],
  ['is never answered', () => undefined],
])('whose leaving %s, a consumer has no connection left', async (_, end) => {
  let connections = 0
  const server = createServer((socket) => {
    connections++
    socket.on('close', () => connections--)
    socket.on('error', () => undefined)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  onTestFinished(() => void server.close())
  const { port } = server.address() as { port: number }
  const consumer = open(port)
  consumer.close = ((_force: boolean, done: (error: Error) => void) => end(done)) as unknown as Close
  await consumer.connections.get({ host: '127.0.0.1', port })
  await leaveGroup(consumer, 50)
  await expect.poll(() => connections, { timeout: 20_000 }).toBe(0)
  // And it makes no other.
  await expect(consumer.connections.get({ host: '127.0.0.1', port })).rejects.toThrow('closed')
})

const METADATA = 3
const LEADER_NOT_AVAILABLE = 5
const partition = (partitionIndex: number, leaderId: number) => {
  const of = { leaderEpoch: 1, replicaNodes: [leaderId], isrNodes: [], offlineReplicas: [] }
  return { errorCode: leaderId < 0 ? LEADER_NOT_AVAILABLE : 0, partitionIndex, leaderId, ...of }
}
function answerOf(errorCode: number) {
  const topic = { errorCode, name: 't', topicId: 'id', isInternal: false, topicAuthorizedOperations: 0 }
  return {
    throttleTimeMs: 0,
    brokers: [{ nodeId: 7, host: 'there', port: 9, rack: null }],
    clusterId: 'c',
    controllerId: 7,
    topics: [{ ...topic, partitions: [partition(1, -1), partition(0, 7)] }],
  }
}

/** A client whose brokers answer so: errors are what the real one makes of them. */
function told(errorCode: number, path: string) {
  const consumer = open()
  onTestFinished(() => consumer.close(true))
  const error = new ResponseError(METADATA, 12, { [path]: [LEADER_NOT_AVAILABLE, null] }, answerOf(errorCode))
  consumer[kMetadata] = (_, answer) => (answer as (error: Error) => void)(error)
  bearLeaderless(consumer)
  return consumer.metadata({ topics: ['t'] })
}

test('a partition without a leader hides nothing of the others', async () => {
  const { topics, brokers } = await told(0, '/topics/0/partitions/0')
  expect(topics.get('t')).toMatchObject({ id: 'id', partitionsCount: 2, partitions: [{ leader: 7 }, { leader: -1 }] })
  expect(brokers.get(7)).toMatchObject({ host: 'there', port: 9 })
})

test('a topic that is refused stays so', async () => {
  await expect(told(29, '/topics/0')).rejects.toThrow('Received response with error')
})
