import type { Logger } from 'pino'
import type { HoldStore } from './holds.ts'

export type Sweeping = { start(): void; stop(): Promise<void> }

/** Operations on holds end those whose time is over; this is for tenants that ask for none any more. */
const SWEEP_EVERY_MS = 5_000

export function keepSweeping(quota: Pick<HoldStore, 'sweepHolds'>, logger: Logger, now: () => number): Sweeping {
  let timer: NodeJS.Timeout | undefined
  let sweeping = Promise.resolve()
  const sweep = async () => {
    await quota.sweepHolds(now()).catch((error: unknown) => logger.warn({ error }, 'expired holds wait to be ended'))
    timer?.refresh()
  }
  return {
    start: () => {
      timer = setTimeout(() => {
        sweeping = sweep()
      }, SWEEP_EVERY_MS)
      timer.unref()
    },
    stop: async () => {
      clearTimeout(timer)
      timer = undefined
      await sweeping
    },
  }
}
