import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { beforeEach, describe, expect, test } from 'vitest'
import { createWorker } from '../../aggregator/worker.ts'

const NEVER_MS = 1_000_000
let logged: string[]
const logger = pino({ level: 'error' }, { write: (line: string) => void logged.push(line) })

beforeEach(() => {
  logged = []
})

/** Work that counts its runs and ends when it is let go. */
function gatedWork() {
  const gates: (() => void)[] = []
  return { gates, work: () => new Promise<void>((done) => gates.push(done)) }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(1)
}

describe('a worker', () => {
  test('runs at once, again after its pause, one run at a time', async () => {
    let running = 0
    let runs = 0
    const work = async () => {
      running++
      expect(running).toBe(1)
      await sleep(2)
      running--
      runs++
    }
    const worker = createWorker('w', work, 1, logger)
    worker.start()
    await until(() => runs >= 5)
    await worker.stop()
  })

  test('runs again as soon as it is woken, also when that was during a run', async () => {
    const { gates, work } = gatedWork()
    const worker = createWorker('w', work, NEVER_MS, logger)
    worker.start()
    await until(() => gates.length === 1)
    worker.wake()
    worker.wake()
    expect(gates).toHaveLength(1)
    gates[0]?.()
    await until(() => gates.length === 2)
    gates[1]?.()
    await sleep(20)
    expect(gates).toHaveLength(2)
    worker.wake()
    await until(() => gates.length === 3)
    gates[2]?.()
    await worker.stop()
  })

  test('goes on after a run that failed, and says so', async () => {
    let runs = 0
    const work = async () => {
      runs++
      if (runs < 3) throw new Error('trouble')
    }
    const worker = createWorker('sealer', work, 1, logger)
    worker.start()
    await until(() => runs >= 3)
    await worker.stop()
    expect(logged.filter((line) => line.includes('sealer') && line.includes('trouble'))).toHaveLength(2)
  })

  test('stops after the run under way, and a pause does not keep it', async () => {
    const { gates, work } = gatedWork()
    const worker = createWorker('w', work, NEVER_MS, logger)
    worker.start()
    await until(() => gates.length === 1)
    let stopped = false
    const stopping = worker.stop().then(() => {
      stopped = true
    })
    await sleep(10)
    expect(stopped).toBe(false)
    gates[0]?.()
    await stopping
    expect(gates).toHaveLength(1)
    const idle = createWorker('w', async () => undefined, NEVER_MS, logger)
    idle.start()
    await sleep(5)
    await idle.stop()
  })
})
