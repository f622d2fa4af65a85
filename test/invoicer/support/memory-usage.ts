import type { MeteredUsage, UsageReader } from '../../../invoicer/billing/usage.ts'
import type { TenantId } from '../../../schemas/http/door.ts'
import { type Quantity, ZERO } from '../../../schemas/quantity.ts'

/** An event as a meter counts it; `identity` is its 128-bit hash. */
export type MemoryEvent = {
  tenantId: TenantId
  meter: string
  subject: string
  timeMs: number
  knownAtMs: number
  quantity: Quantity
  identity: bigint
}

const DIGEST_MODULUS = 1n << 128n

/** The usage reader over a list of events, for tests. The list may grow meanwhile. */
export function memoryUsage(events: readonly MemoryEvent[]): UsageReader {
  return {
    quantities: async (tenantId, knownBefore, requests) => {
      const answers = new Map<string, MeteredUsage>()
      for (const request of requests) {
        const subjects = new Set(request.subjects)
        const counted = events.filter(
          (event) =>
            event.tenantId === tenantId &&
            event.meter === request.meter &&
            subjects.has(event.subject) &&
            event.timeMs >= request.startMs &&
            event.timeMs < request.endMs &&
            (request.parts ?? [request]).some((part) => event.timeMs >= part.startMs && event.timeMs < part.endMs) &&
            event.knownAtMs < knownBefore.getTime(),
        )
        answers.set(request.key, {
          quantity: counted.reduce((sum, event) => sum.plus(event.quantity), ZERO),
          events: counted.length,
          digest: counted.reduce((sum, event) => (sum + event.identity) % DIGEST_MODULUS, 0n),
        })
      }
      return answers
    },
    identityTotals: async (tenantId, knownBefore) => {
      const known = events.filter((event) => event.tenantId === tenantId && event.knownAtMs < knownBefore.getTime())
      const identities = new Set(known.map((event) => event.identity))
      return { events: identities.size, digest: [...identities].reduce((sum, one) => (sum + one) % DIGEST_MODULUS, 0n) }
    },
    changed: async (tenantId, { steps, knownBeforeMs }) => {
      const late = events.filter(
        ({ tenantId: tenant, timeMs, knownAtMs }) =>
          tenant === tenantId &&
          knownAtMs < knownBeforeMs &&
          steps.some(({ knownFromMs, happenedBeforeMs }) => knownAtMs >= knownFromMs && timeMs < happenedBeforeMs),
      )
      return [...new Set(late.map(({ subject }) => subject))].sort().map((subject) => {
        const times = late.filter((event) => event.subject === subject).map(({ timeMs }) => timeMs)
        return { subject, firstMs: Math.min(...times), lastMs: Math.max(...times) }
      })
    },
  }
}
