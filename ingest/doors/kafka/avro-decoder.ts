import { Worker } from 'node:worker_threads'
import type { AvroMapping } from './avro-event.ts'
import type { Decoded, FramedRecord, Readiness } from './avro-worker.ts'
import { MOST_ANSWER_LENGTH } from './wire-format.ts'

/** Codes are stable: avro_too_large is what claims or takes too much, avro_too_slow too long, invalid_avro all else. */
export type AvroOutcome = { json: string } | { code: AvroRejection; message: string }
export type AvroRejection = 'invalid_avro' | 'avro_too_large' | 'avro_too_slow'

export type AvroDecoder = {
  /** Outcomes of the first records, at least of one, with about 4 MiB of JSON at most. One call at a time. */
  decode(records: readonly FramedRecord[]): Promise<AvroOutcome[]>
  /** What is wrong with the mappings' schemas. */
  check(): Promise<Readiness['faults']>
  stop(): Promise<void>
}
export type AvroBounds = { heapMb: number; busyMs: number }

export const AVRO_BOUNDS: AvroBounds = { heapMb: 128, busyMs: 10_000 }
const YOUNG_HEAP_MB = 16
const BEGIN_WITHIN_MS = 60_000
const TICK_MS = 50

const SOURCES = import.meta.url.endsWith('.ts')

/** The build is plain JavaScript. Threads of Node 20 read the sources only through a loader that they register. */
function entryUrl(): URL {
  if (!SOURCES) return new URL('./avro-worker.js', import.meta.url)
  const entry = JSON.stringify(new URL('./avro-worker.ts', import.meta.url).href)
  const loader = JSON.stringify(import.meta.resolve('tsx/esm/api'))
  const code = `import { register } from ${loader}; register(); await import(${entry})`
  return new URL(`data:text/javascript,${encodeURIComponent(code)}`)
}

type Death = { code: Exclude<AvroRejection, 'invalid_avro'>; message: string }
type Answer<T> = { value: T } | { death: Death }

/**
 * Decodes Avro from outside in a thread that has bounds of memory and time, beside those of the reading itself. What
 * ends the thread is the fault of a record: those that came together are then decoded one by one, each in a thread
 * that lives, and it alone is rejected.
 */
export function createAvroDecoder(mappings: readonly AvroMapping[], bounds: AvroBounds = AVRO_BOUNDS): AvroDecoder {
  let thread: Thread | undefined
  const leave = async (left: Thread) => {
    thread = undefined
    await left.end()
  }
  const begin = async (): Promise<{ begun: Thread; readiness: Readiness }> => {
    thread ??= startThread(mappings, bounds)
    const begun = thread
    const ready = await begun.ready
    if ('value' in ready) return { begun, readiness: ready.value }
    await leave(begun)
    // No record's fault: whoever asked asks again.
    throw new Error(`The thread that reads Avro does not begin: ${ready.death.message}`)
  }
  const ask = async (records: readonly FramedRecord[]): Promise<Answer<Decoded[]>> => {
    const { begun } = await begin()
    const answer = await begun.ask<Decoded[]>(records)
    if ('death' in answer) await leave(begun)
    return answer
  }
  return {
    decode: async (records) => {
      const answer = await ask(records)
      if ('value' in answer) return answer.value.map(outcomeOf)
      const outcomes: AvroOutcome[] = []
      for (let length = 0; outcomes.length < records.length && length < MOST_ANSWER_LENGTH; ) {
        const alone = await ask(records.slice(outcomes.length, outcomes.length + 1))
        const found = 'value' in alone ? alone.value.map(outcomeOf) : [alone.death]
        outcomes.push(...found)
        for (const outcome of found) length += 'json' in outcome ? outcome.json.length : 0
      }
      return outcomes
    },
    check: async () => (await begin()).readiness.faults,
    stop: async () => {
      await thread?.end()
      thread = undefined
    },
  }
}

function outcomeOf(decoded: Decoded): AvroOutcome {
  if ('json' in decoded) return decoded
  return { code: decoded.tooLarge ? 'avro_too_large' : 'invalid_avro', message: `The record ${decoded.fault}` }
}

type Thread = ReturnType<typeof startThread>

function startThread(mappings: readonly AvroMapping[], { heapMb, busyMs }: AvroBounds) {
  const worker = new Worker(entryUrl(), {
    // As text: what nests deep cannot be handed over as it is.
    workerData: JSON.stringify(mappings),
    resourceLimits: { maxOldGenerationSizeMb: heapMb, maxYoungGenerationSizeMb: YOUNG_HEAP_MB },
    execArgv: [],
    env: {},
    stdout: true,
    stderr: true,
  })
  worker.unref()
  let dead: Death | undefined
  let settle: ((answer: Answer<never>) => void) | undefined
  const die = (code: Death['code'], message: string) => {
    dead ??= { code, message }
    settle?.({ death: dead })
  }
  worker.on('error', (error) => {
    const took = `The record takes more than ${heapMb} MB when it is read`
    const outOfMemory = (error as { code?: unknown }).code === 'ERR_WORKER_OUT_OF_MEMORY'
    die('avro_too_large', outOfMemory ? took : `The record ends the thread that reads it: ${error.message}`)
  })
  worker.on('exit', () => die('avro_too_large', 'The record ends the thread that reads it'))
  const next = <T>(withinMs: number): Promise<Answer<T>> =>
    new Promise((resolve) => {
      const tooSlow = () => die('avro_too_slow', `The record takes more than ${withinMs} ms to be read`)
      const late = whenBusyFor(withinMs, tooSlow)
      const end = (answer: Answer<T>) => {
        late.cancel()
        worker.off('message', take)
        settle = undefined
        resolve(answer)
      }
      const take = (value: T) => end({ value })
      settle = end
      worker.on('message', take)
      if (dead) end({ death: dead })
    })
  return {
    ready: next<Readiness>(BEGIN_WITHIN_MS),
    ask: <T>(records: readonly FramedRecord[]) => {
      const answer = next<T>(busyMs)
      worker.postMessage(records)
      return answer
    },
    end: async () => {
      await worker.terminate()
    },
  }
}

/** Counts time in which this process runs: one that was frozen says nothing about the thread. */
function whenBusyFor(busyMs: number, late: () => void): { cancel(): void } {
  const tickMs = Math.min(TICK_MS, busyMs)
  let leftMs = busyMs
  const timer = setInterval(() => {
    leftMs -= tickMs
    if (leftMs <= 0) late()
  }, tickMs)
  return { cancel: () => clearInterval(timer) }
}
