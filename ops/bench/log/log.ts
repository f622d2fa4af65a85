import type { EventLogWriter, LogAppend } from '../../../ingest/append/event-log.ts'
import { ownCpuUs } from '../cpu.ts'
import { encodedEvents } from '../events.ts'
import type { Figure, FigureInput } from '../figure.ts'
import { interleave, sample } from '../measure.ts'
import { type Captured, replay, sendBatched } from './captured.ts'
import { openKafkaLogs } from './log.kafka.ts'
import { openLmdbLogs } from './log.lmdb.ts'

/** Our writer, and its client library bare. */
export type Logs = {
  writer: EventLogWriter
  floor: string
  /** Resolves when the records are as durable as the writer makes them. */
  sendBare(records: readonly LogAppend[]): Promise<unknown>
  close(): Promise<void>
}

const PROCESS = 'writer'
const TENANT = 900_001

/** From encoded events to a durable log: batcher and writer. */
export const log: Figure = async (input: FigureInput) => {
  const logs = input.servers ? await openKafkaLogs(input) : await openLmdbLogs(input)
  const { writer, floor } = logs
  const count = input.sizes.logEvents
  const subject = { mode: input.mode, figure: 'log, batcher and writer', floor, unit: 'event' } as const
  const gauges = { [PROCESS]: ownCpuUs }
  try {
    const events = encodedEvents(count, TENANT, writer.partitions)
    return await interleave(subject, input.sizes, async () => {
      let captured: Captured = { appends: [], atOnce: 1 }
      return {
        product: () =>
          sample(gauges, count, async () => {
            captured = await sendBatched(writer, events)
          }),
        floor: () => sample(gauges, count, () => replay(captured, logs.sendBare)),
      }
    })
  } finally {
    await logs.close()
  }
}
