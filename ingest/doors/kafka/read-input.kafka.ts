import { setTimeout as sleep } from 'node:timers/promises'
import { openFetcher } from './fetch.kafka.ts'
import { fetchAndTake, type InputSink, type Life } from './fetch-and-take.ts'
import type { TenantInput } from './input.ts'
import { joinInput, type Membership } from './membership.kafka.ts'

export type InputSource = { brokers: string[]; sessionTimeoutMs: number }

export type InputReader = { stop(): Promise<void> }

const AGAIN_FIRST_MS = 200
const AGAIN_MAX_MS = 10_000
const IDLE_MS = 200

/** Reads a topic until it is stopped, whatever ends a membership or a connection in between. */
export function readInput(source: InputSource, input: TenantInput, sink: InputSink): InputReader {
  let stopping = false
  const stopped = new AbortController()
  const keep = async (): Promise<void> => {
    for (let againMs = AGAIN_FIRST_MS; !stopping; againMs = Math.min(againMs * 2, AGAIN_MAX_MS)) {
      try {
        await live(
          source,
          input,
          sink,
          () => stopping,
          () => {
            againMs = AGAIN_FIRST_MS
          },
        )
      } catch (error) {
        const members = { service: 'ingest', event: 'kafka_input_waits', topic: input.topic, err: error }
        sink.logger.warn(members, 'a Kafka input cannot be read; it is tried again')
      }
      if (!stopping) await sleep(againMs, undefined, { signal: stopped.signal }).catch(() => undefined)
    }
  }
  const kept = keep()
  return {
    stop: async () => {
      stopping = true
      stopped.abort()
      await kept
    },
  }
}

/** One membership: from joining the group until it is lost, or the reader is stopped. */
async function live(
  { brokers, sessionTimeoutMs }: InputSource,
  input: TenantInput,
  sink: InputSink,
  stopping: () => boolean,
  works: () => void,
): Promise<void> {
  const fetcher = openFetcher(brokers)
  let member: Membership | undefined
  try {
    member = await joinInput({ brokers, sessionTimeoutMs, topic: input.topic })
    const life: Life = { input, sink, member, fetcher, positions: new Map(), waiting: new Map(), stopping }
    while (!stopping()) {
      member.check()
      const moved = await member.moved()
      if (moved) {
        life.positions = moved
        life.waiting.clear()
      }
      if (await fetchAndTake(life)) works()
      else await sleep(IDLE_MS)
    }
  } finally {
    await Promise.allSettled([member?.leave(), fetcher.close()])
  }
}
