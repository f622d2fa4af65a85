import {
  type Base,
  type ClusterMetadata,
  kMetadata,
  type MultipleErrors,
  type metadataV12,
  ResponseError,
} from '@platformatic/kafka'

type Answer = metadataV12.MetadataResponse

/**
 * One partition without a leader fails all that the client is told of the cluster, and with it joins, heartbeats and
 * commits. The answer is in the error all the same: where only partitions are at fault, it is used.
 */
export function bearLeaderless(client: Base): void {
  const ask = client[kMetadata].bind(client)
  client[kMetadata] = (options, answer) =>
    ask(options, (error, metadata) => {
      const found = error ? clusterIn(error, options.topics ?? []) : undefined
      if (found) answer(null, found)
      else answer(error, metadata)
    })
}

/** What the answer says of the topics, where it knows them all: a partition's leader may be -1. */
export function clusterIn(error: Error, topics: readonly string[]): ClusterMetadata | undefined {
  const { findBy } = error as Partial<MultipleErrors>
  const found = findBy?.call(error, 'code', ResponseError.code) as { response?: Answer } | null | undefined
  const response = found?.response
  if (!response?.brokers || !response.topics || response.topics.some(({ errorCode }) => errorCode !== 0))
    return undefined
  const lastUpdate = Date.now()
  const known = new Map(
    response.topics.map(({ name, topicId: id, partitions: of }) => {
      const partitions = [...of]
        .sort((a, b) => a.partitionIndex - b.partitionIndex)
        .map(({ leaderId: leader, leaderEpoch, replicaNodes: replicas, isrNodes: isr, offlineReplicas }) => {
          return { leader, leaderEpoch, replicas, isr, offlineReplicas }
        })
      return [name ?? '', { id, partitions, partitionsCount: partitions.length, lastUpdate }]
    }),
  )
  if (!topics.every((topic) => known.has(topic))) return undefined
  const brokers = new Map(response.brokers.map(({ nodeId, host, port, rack }) => [nodeId, { host, port, rack }]))
  return { id: response.clusterId ?? '', brokers, controllerId: response.controllerId, topics: known, lastUpdate }
}
