import type { TenantId } from '../../../schemas/http/door.ts'

/** What is compared with spend: budgets of subscriptions, or prepaid credit of customers. */
export type Watch = {
  /** Looks at a portion of a tenant's that was due by then; answers how many these were. */
  look: (tenantId: TenantId, dueMs: number, hooks: LookHooks) => Promise<number>
  /** A line of the log about looks that failed, with the id of the first of them as `idName`. */
  trouble: { event: string; message: string; idName: string }
}
export type LookHooks = {
  /** Told of alerts when they are durable. */
  fired: (alerts: number) => void
  /** Told of one whose spend cannot be told; it is looked at again in a minute. */
  failed: (id: string, error: unknown) => void
  stopping: () => boolean
}
export type WatchDeps = {
  watch: Watch
  now: () => number
  tenantsDue: (atMs: number) => Promise<{ tenantId: TenantId; dueSinceMs: number }[]>
  metrics: WatchMetrics
  logger: { error: (members: Record<string, unknown>, message: string) => void }
}
export type WatchMetrics = {
  /** A pass begins, at which what waits longest is so late. */
  late: (ms: number) => void
  /** A pass ended that no tenant's failure cut short. */
  passed: (atMs: number) => void
  fired: (alerts: number) => void
  failed: () => void
}

/** Compares with spend again and again. Nothing of it rejects. */
export type Watching = {
  start: () => void
  /** Everything that is due; joined while one is under way. */
  pass: () => Promise<void>
  /** Resolves when the portion under way is done; nothing is looked at after it is called. */
  stop: () => Promise<void>
}

/** What is due is looked at this soon. Most passes find nothing: that is one statement for all tenants. */
const TICK_MS = 10_000

/** Any number of processes may watch: what is due is taken by one of them, once a minute. */
export function keepWatching(deps: WatchDeps, stopSignal: AbortSignal): Watching {
  const stopping = () => stopSignal.aborted
  let timer: NodeJS.Timeout | undefined
  let passing: Promise<void> | undefined

  const passOnce = async (): Promise<void> => {
    const startedMs = deps.now()
    const trouble = gatherTrouble(deps)
    const hooks = { failed: trouble.failed, fired: deps.metrics.fired, stopping }
    try {
      const due = await deps.tenantsDue(startedMs)
      deps.metrics.late(Math.max(0, startedMs - Math.min(startedMs, ...due.map(({ dueSinceMs }) => dueSinceMs))))
      let whole = true
      for (const { tenantId } of due) {
        try {
          // Those that were due at the beginning: what is due again by now must not keep the next tenant waiting.
          while (!stopping() && (await deps.watch.look(tenantId, startedMs, hooks)) > 0);
        } catch (error) {
          whole = false
          trouble.add({ tenant_id: tenantId }, error)
        }
      }
      if (whole && !stopping()) deps.metrics.passed(deps.now())
    } catch (error) {
      trouble.add({}, error)
    }
    trouble.tell()
  }
  const pass = (): Promise<void> => {
    if (stopping()) return Promise.resolve()
    passing ??= passOnce().finally(() => {
      passing = undefined
    })
    return passing
  }
  /** A pass that took long is followed by a pause as long: watching leaves half of the time to whoever else asks. */
  const tick = async (): Promise<void> => {
    const beganMs = performance.now()
    await pass()
    if (!stopping()) wait(Math.max(TICK_MS, performance.now() - beganMs))
  }
  const wait = (ms: number): void => {
    timer = setTimeout(() => void tick(), ms)
    timer.unref()
  }
  return {
    start: () => wait(TICK_MS),
    pass,
    stop: async () => {
      clearTimeout(timer)
      await passing
    },
  }
}

/** One line of the log a pass, however many looks failed: they fail again each minute. */
function gatherTrouble({ watch, metrics, logger }: Pick<WatchDeps, 'watch' | 'metrics' | 'logger'>) {
  const { event, message, idName } = watch.trouble
  let first: Record<string, unknown> | undefined
  let count = 0
  const add = (members: Record<string, unknown>, error: unknown): void => {
    metrics.failed()
    count += 1
    first ??= { ...members, err: error }
  }
  return {
    add,
    failed: (id: string, error: unknown) => add({ [idName]: id }, error),
    tell: () => {
      if (first !== undefined) logger.error({ service: 'invoicer', event, count, ...first }, message)
    },
  }
}
