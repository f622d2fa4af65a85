import type { EventReader } from '../../../invoicer/billing/explain/events.ts'

/** A store that nobody sent anything to, for tests of other matters. */
export const NO_EVENTS: EventReader = {
  meter: async () => undefined,
  identities: async () => [],
  sealed: async () => ({ events: 0, digest: 0n }),
}
