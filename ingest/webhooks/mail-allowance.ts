import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'
import { type Claimed, copiesMailed, countCopies, lockMails } from './deliveries.postgres.ts'
import { addressesOf, isMailUrl } from './mail-url.ts'

/** Copies of mails of one tenant: nobody asked those who receive them. What is beyond comes later. */
const MOST_MAILED_A_DAY = 1_000
const DAY_MS = 24 * 3_600_000

/** Those of a delivery's addresses that have not taken it, so that one that is refused brings the others no copies. */
export function addressesLeft({ url, takenBy }: Pick<Claimed, 'url' | 'takenBy'>): string[] {
  return addressesOf(url).filter((address) => !takenBy.includes(address))
}

/**
 * Which of the deliveries may be mailed now. Their copies are counted before they are sent, whatever comes of them: what
 * is refused, timed out or deleted meanwhile may have reached somebody too. Processes that claim at once do so in turn.
 */
export async function allowMails(
  tx: TenantTransaction,
  claimed: readonly Claimed[],
  at: number,
): Promise<Set<Claimed>> {
  const mails = claimed.filter(({ url, secret }) => secret !== null && isMailUrl(url))
  if (mails.length === 0) return new Set()
  await lockMails(tx)
  let left = MOST_MAILED_A_DAY - (await copiesMailed(tx, new Date(at - DAY_MS)))
  const allowed = new Map<Claimed, number>()
  for (const mail of mails) {
    const copies = addressesLeft(mail).length
    if (copies > left) continue
    left -= copies
    allowed.set(mail, copies)
  }
  await countCopies(tx, allowed)
  return new Set(allowed.keys())
}
