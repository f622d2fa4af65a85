import type { TenantId } from '../../../schemas/http/door.ts'

/** What is to be done for tenants that have something due, until none is left. */
export type Chore = {
  tenantsDue: (nowMs: number) => Promise<TenantId[]>
  /** A portion; answers how much that was. `failed` hears of customers at fault, who hold up no other. */
  work: (tenantId: TenantId, failed: (customerId: string, error: unknown) => void) => Promise<number>
  /** A line of the log about what failed; it is tried again in a minute. */
  trouble: { event: string; message: string }
}
export type ChoreDeps = {
  now: () => number
  logger: { error: (members: Record<string, unknown>, message: string) => void }
}
export type DoingChores = { start: () => void; pass: () => Promise<void>; stop: () => Promise<void> }

const TICK_MS = 60_000

/** Every minute, in any number of processes: one chore after the other. Nothing of it rejects. */
export function keepDoing(chores: readonly Chore[], deps: ChoreDeps, stopSignal: AbortSignal): DoingChores {
  let timer: NodeJS.Timeout | undefined
  let passing: Promise<void> = Promise.resolve()
  const tell = ({ event, message }: Chore['trouble'], members: Record<string, unknown>) =>
    deps.logger.error({ service: 'invoicer', event, ...members }, message)
  /** One tenant's trouble holds up no other. */
  const ofTenant = async (chore: Chore, tenantId: TenantId) => {
    const failed = (customerId: string, err: unknown) =>
      tell(chore.trouble, { tenant_id: tenantId, customer_id: customerId, err })
    try {
      while (!stopSignal.aborted && (await chore.work(tenantId, failed)) > 0);
    } catch (err) {
      tell(chore.trouble, { tenant_id: tenantId, err })
    }
  }
  const doOne = async (chore: Chore) => {
    try {
      for (const tenantId of await chore.tenantsDue(deps.now())) await ofTenant(chore, tenantId)
    } catch (err) {
      tell(chore.trouble, { err })
    }
  }
  const pass = async () => {
    for (const chore of chores) await doOne(chore)
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
