import type { TenantId } from '../../../schemas/http/door.ts'
import type { Means, Transact } from '../../transaction.ts'
import { expireCredit, expiredBeforeMs } from './expire-credit.ts'

export type ExpireDeps = Means & {
  transact: Transact
  tenantsDue: (atMs: number) => Promise<TenantId[]>
  logger: { error: (members: Record<string, unknown>, message: string) => void }
}
export type Expiring = { start: () => void; pass: () => Promise<void>; stop: () => Promise<void> }

const TICK_MS = 60_000

/** Every minute, in any number of processes: expired credit is taken off its grants. Nothing of it rejects. */
export function keepExpiring(deps: ExpireDeps, stopSignal: AbortSignal): Expiring {
  let timer: NodeJS.Timeout | undefined
  let passing: Promise<void> = Promise.resolve()
  const tell = (members: Record<string, unknown>) => {
    const about = { service: 'invoicer', event: 'credit_expiry_failed', ...members }
    deps.logger.error(about, 'expired credit could not be taken off; it is tried again in a minute')
  }
  /** One tenant's trouble holds up no other. */
  const ofTenant = async (tenantId: TenantId) => {
    try {
      while (!stopSignal.aborted && (await deps.transact(tenantId, (tx) => expireCredit(tx, deps))) > 0);
    } catch (err) {
      tell({ tenant_id: tenantId, err })
    }
  }
  const pass = async () => {
    try {
      for (const tenantId of await deps.tenantsDue(expiredBeforeMs(deps.now()))) await ofTenant(tenantId)
    } catch (err) {
      tell({ err })
    }
  }
  const wait = () => {
    timer = setTimeout(() => {
      passing = pass().finally(() => {
        if (!stopSignal.aborted) wait()
      })
    }, TICK_MS)
    timer.unref()
  }
  return {
    start: wait,
    pass,
    stop: async () => {
      clearTimeout(timer)
      await passing
    },
  }
}
