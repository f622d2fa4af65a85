import { schedule, validate } from 'node-cron'

/** Cron is a trigger, not a clock: what is due is asked of the database, so missed and doubled ticks are equal. */
export function scheduleTicks(expression: string, tick: () => Promise<void>): { stop: () => Promise<void> } {
  if (!validate(expression))
    throw new Error(`The billing schedule ${JSON.stringify(expression)} is not a cron expression`)
  const task = schedule(expression, tick, { timezone: 'UTC', noOverlap: true, suppressMissedWarning: true })
  return {
    stop: async () => {
      await task.destroy()
    },
  }
}
