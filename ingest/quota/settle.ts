import type { Caller } from '../../schemas/http/door.ts'
import { acceptOne, type ConsumeDeps, type Consumed, standingAfter } from './consume.ts'
import { releaseHold } from './release.ts'

/**
 * Ends a reservation with the event that it was for. Order of effects, and what a crash between them leaves: (1) the
 * event draws from the hold, and is durable: sent again it draws nothing and counts once; (2) the rest of the hold is
 * freed: otherwise it goes back when the hold expires. An event that is refused leaves the hold as it is.
 */
export async function settleHold(
  deps: ConsumeDeps,
  caller: Caller,
  holdId: string,
  event: Readonly<Record<string, unknown>>,
): Promise<Consumed & { released: string }> {
  const result = await acceptOne(deps, caller, { ...event, tallyhold: holdId })
  const released = result.outcome.outcome === 'accepted' ? await releaseRest(deps, caller, holdId) : '0'
  return { ...(await standingAfter(deps, result)), released }
}

/** The event is kept already, so that a store that is away now fails nothing. */
async function releaseRest(deps: ConsumeDeps, caller: Caller, holdId: string): Promise<string> {
  return releaseHold(deps, caller, holdId).catch((error: unknown) => {
    deps.logger.warn({ error, hold: holdId }, 'a hold that was settled stays until it expires')
    return '0'
  })
}
