import { decimalOf, microOf, microOfDecimal } from '../../../sdk/typescript/src/micro.ts'
import { outcomes, type Scripted, type Sent } from './scripted-server.ts'

export const GRACE_MS = 10_000

type Hold = { id: string; granted: number; left: number; endsMs: number; recorded: number; ended: boolean }

/** The wire contract of leases and events as a model: one limit, in units, and a clock. */
export function quotaModel(limit: number | null, nowMs: () => number) {
  const holds = new Map<string, Hold>()
  const recordedIds = new Set<string>()
  const limitMicro = limit === null ? null : microOf(limit)
  /** What was used, and what is held: Σ recorded + Σ left. */
  let counter = 0
  let leases = 0

  const endHolds = () => {
    for (const hold of holds.values()) {
      if (hold.ended || nowMs() < hold.endsMs + GRACE_MS) continue
      counter -= hold.left
      hold.left = 0
      hold.ended = true
    }
  }
  const lease = (key: string, wanted: number, forMs: number): Hold => {
    const known = holds.get(`lease-${key}`)
    if (known) return known
    const granted = limitMicro === null ? wanted : Math.max(0, Math.min(wanted, limitMicro - counter))
    counter += granted
    leases++
    const id = `lease-${key}`
    const hold = { id, granted, left: granted, endsMs: nowMs() + forMs, recorded: 0, ended: false }
    holds.set(id, hold)
    return hold
  }
  const record = (event: { id: string; tallyhold?: string; data: { quantity: number } }): string => {
    if (recordedIds.has(event.id)) return 'duplicate'
    recordedIds.add(event.id)
    const micro = microOf(event.data.quantity)
    const hold = holds.get(event.tallyhold ?? '')
    const held = Math.min(hold?.left ?? 0, micro)
    if (hold) {
      hold.left -= held
      if (!hold.ended) hold.recorded += micro
    }
    counter += micro - held
    return 'accepted'
  }
  const giveBack = (id: string, unused: number): number => {
    const hold = holds.get(id)
    const returned = Math.min(hold?.left ?? 0, unused)
    if (hold) hold.left -= returned
    counter -= returned
    return returned
  }

  return {
    answer: ({ path, headers, body }: Sent): Scripted => {
      endHolds()
      const given = (body ?? {}) as Record<string, string & number>
      if (path === '/api/v1/events') return outcomes(202, (body as Parameters<typeof record>[0][]).map(record))
      if (path === '/api/v1/quota/leases') {
        const hold = lease(
          headers['idempotency-key'] ?? '',
          microOfDecimal(given.quantity) ?? 0,
          given.expires_in_ms ?? 0,
        )
        const remaining = limitMicro === null ? null : decimalOf(Math.max(0, limitMicro - counter))
        const quantity = decimalOf(hold.granted)
        return { status: 200, body: { lease_id: hold.id, quantity, quota_remaining: remaining, resets_at: null } }
      }
      const [, id = ''] = /\/quota\/leases\/(.+)\/return$/.exec(path) ?? []
      return {
        status: 200,
        body: { lease_id: id, returned: decimalOf(giveBack(id, microOfDecimal(given.unused) ?? 0)) },
      }
    },
    endHolds,
    holds,
    /** In units. */
    counter: () => counter / 1e6,
    leases: () => leases,
  }
}
