import type { Logger } from 'pino'

export type Worker = { start(): void; wake(): void; stop(): Promise<void> }

/**
 * Runs work again and again, `everyMs` apart or as soon as it is woken, one run at a time. A run that fails is logged
 * and tried again at the next turn.
 */
export function createWorker(name: string, work: () => Promise<void>, everyMs: number, logger: Logger): Worker {
  let stopping = false
  let woken = false
  let interrupt = () => {}
  let running: Promise<void> = Promise.resolve()
  const pause = () =>
    new Promise<void>((resume) => {
      const timer = setTimeout(resume, woken ? 0 : everyMs)
      interrupt = () => {
        clearTimeout(timer)
        resume()
      }
    })
  const loop = async (): Promise<void> => {
    while (!stopping) {
      woken = false
      await work().catch((error: unknown) =>
        logger.error({ err: error, worker: name }, 'work failed; it is tried again'),
      )
      if (!stopping) await pause()
    }
  }
  return {
    start: () => {
      running = loop()
    },
    wake: () => {
      woken = true
      interrupt()
    },
    stop: async () => {
      stopping = true
      interrupt()
      await running
    },
  }
}
