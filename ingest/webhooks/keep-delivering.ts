import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { TenantId } from '../../schemas/http/door.ts'
import { type DeliverDeps, deliverDue } from './deliver.ts'
import { tenantsDue } from './deliveries.postgres.ts'

/** Sends what is due, also what a killed process left. Nothing of it rejects. */
export type Delivering = {
  start(): void
  /** Looks at once: called when something was queued. */
  look(): void
  /** Resolves when the attempts under way have ended, after 15 s at most; what is due then waits for the next start. */
  stop(): Promise<void>
}

const LOOK_EVERY_MS = 2_000
/** Receivers that do not answer hold up their own tenant only, as long as there are no more such tenants. */
const MOST_TENANTS = 20

/** Longer than an attempt takes, which ends after 10 s and is noted then. */
const MOST_STOP_MS = 15_000

export function keepDelivering(deps: DeliverDeps & { logger: Logger }, mostStopMs = MOST_STOP_MS): Delivering {
  const underWay = new Map<TenantId, Promise<void>>()
  let stopped = false
  let looking: Promise<void> | undefined
  let again = false
  let timer: NodeJS.Timeout | undefined
  let isTold = false

  /** Once, until a look went well. */
  const warn = (error: unknown) => {
    if (isTold) return
    isTold = true
    deps.logger.warn({ service: 'ingest', event: 'webhooks_wait', err: error }, 'webhooks could not be sent')
  }
  const deliverAll = async (tenant: TenantId): Promise<void> => {
    while (!stopped && (await deliverDue(deps, tenant)) > 0);
  }
  const lookOnce = async (): Promise<void> => {
    const tenants = await tenantsDue(deps.pool, new Date(deps.now()))
    isTold = false
    for (const tenant of tenants) {
      if (stopped || underWay.size >= MOST_TENANTS) return
      if (underWay.has(tenant)) continue
      underWay.set(
        tenant,
        deliverAll(tenant)
          .catch(warn)
          .finally(() => underWay.delete(tenant)),
      )
    }
  }
  const look = (): void => {
    if (stopped) return
    if (looking) {
      again = true
      return
    }
    looking = lookOnce()
      .catch(warn)
      .finally(() => {
        looking = undefined
        if (!again) return
        again = false
        look()
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
      const ended = Promise.resolve(looking).then(() => Promise.all(underWay.values()))
      await Promise.race([ended, sleep(mostStopMs, undefined, { ref: false })])
    },
  }
}
