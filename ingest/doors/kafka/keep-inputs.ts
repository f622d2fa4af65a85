import type { Logger } from 'pino'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { createAvroDecoder } from './avro-decoder.ts'
import type { InputSink } from './fetch-and-take.ts'
import type { TenantInput } from './input.ts'
import { type ActiveInput, listActiveInputs } from './inputs.postgres.ts'
import { splitPortion } from './portions.ts'
import { type InputReader, type InputSource, readInput } from './read-input.kafka.ts'
import { readableRecords } from './read-records.ts'
import { lastRejected } from './rejections.postgres.ts'
import { type TakeDeps, takePortion } from './take-portion.ts'

export type InputKeeper = {
  start(): void
  /** Looks at once: called when inputs have changed. */
  look(): void
  /** Resolves when nothing is read any more. */
  stop(): Promise<void>
}
export type KeepDeps = TakeDeps & { source: InputSource; logger: Logger }

const LOOK_EVERY_MS = 10_000

/** Reads the inputs that there are, as they are at the moment. Several processes share a topic's partitions. */
export function keepInputs(deps: KeepDeps): InputKeeper {
  const readings = new Map<string, { version: string; reader: InputReader }>()
  let stopped = false
  let pass: Promise<void> = Promise.resolve()
  let timer: NodeJS.Timeout | undefined

  const follow = async (): Promise<void> => {
    if (stopped) return
    const active = new Map((await listActiveInputs(deps.pool)).map((input) => [input.topic, input]))
    const over = [...readings].filter(([topic, { version }]) => active.get(topic)?.version !== version)
    await Promise.all(
      over.map(async ([topic, { reader }]) => {
        readings.delete(topic)
        await reader.stop()
      }),
    )
    for (const [topic, input] of active) {
      if (!stopped && !readings.has(topic)) readings.set(topic, { version: input.version, reader: begin(deps, input) })
    }
  }
  const look = () => {
    pass = pass.then(follow).catch((error: unknown) => {
      deps.logger.warn({ service: 'ingest', err: error }, 'Kafka inputs could not be listed')
    })
  }
  return {
    start: () => {
      look()
      timer = setInterval(look, LOOK_EVERY_MS)
      timer.unref()
    },
    look,
    stop: async () => {
      stopped = true
      clearInterval(timer)
      await pass
      await Promise.all([...readings.values()].map(({ reader }) => reader.stop()))
    },
  }
}

function begin(deps: KeepDeps, input: ActiveInput): InputReader {
  const decoder = input.format === 'avro' ? createAvroDecoder(input.schemas) : undefined
  const listed = listedBefore(deps, input)
  const take: InputSink['take'] = async (place, portion) => {
    const known = await listed.has(place, portion)
    const records = await readableRecords(input, place, portion.records, decoder)
    // Of Avro it may be the first records only: they are taken, and what follows is another portion.
    const { taken } = splitPortion(portion, portion.records[records.length]?.offset ?? portion.next)
    const { rejections } = await takePortion(deps, input, place, { portion: taken, records, listed: known })
    listed.taken(place, taken, rejections > 0)
    return taken.next
  }
  const reader = readInput(deps.source, input, { take, logger: deps.logger })
  return {
    stop: async () => {
      await reader.stop()
      await decoder?.stop()
    },
  }
}

type Took = Parameters<InputSink['take']>

/**
 * Whether an earlier try at the same records may have listed some of them: asked of Postgres only where reading begins
 * anew, so that records go on being taken while it is away.
 */
function listedBefore({ pool }: KeepDeps, { tenantId, topic }: TenantInput) {
  const nexts = new Map<string, number>()
  const lasts = new Map<string, number>()
  const keyOf = ({ topicId, partition }: Took[0]) => `${topicId}/${partition}`
  return {
    has: async (place: Took[0], { first }: Took[1]): Promise<boolean> => {
      const key = keyOf(place)
      if (nexts.get(key) !== first) {
        const found = await withTenant(pool, tenantId, (tx) => lastRejected(tx, topic, place.topicId))
        lasts.set(key, found.get(place.partition) ?? -1)
      }
      // Until it is taken: a try that fails may have listed something.
      nexts.delete(key)
      return (lasts.get(key) ?? -1) >= first
    },
    taken: (place: Took[0], { next }: Took[1], rejected: boolean): void => {
      const key = keyOf(place)
      nexts.set(key, next)
      if (rejected) lasts.set(key, Math.max(lasts.get(key) ?? -1, next - 1))
    },
  }
}
