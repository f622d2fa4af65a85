import type { Pool } from 'pg'
import type { TenantId } from '../../schemas/http/door.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { type AttemptEnd, type Claimed, claimDeliveries, endAttempt } from './deliveries.postgres.ts'
import { type Mailer, mailOf, type Sent } from './mail.ts'
import { addressesLeft, allowMails } from './mail-allowance.ts'
import { addressesOf, isMailUrl } from './mail-url.ts'
import { retryDelayMs } from './retry.ts'
import { type Post, sendOnce } from './send.http.ts'
import { signedHeaders } from './signature.ts'

export type DeliverDeps = {
  pool: Pool
  now: () => number
  /** 0 to 1. */
  random: () => number
  /** Receivers on private addresses, and without TLS, are told too. */
  allowPrivate: boolean
  /** None: attempts to mail fail. */
  mailer?: Mailer | undefined
  /** Told of the end of each attempt. */
  attempted: (outcome: 'delivered' | 'failed') => void
}

/** Of one tenant, at a time. */
const MOST_AT_ONCE = 10
/** Longer than any attempt: whoever has not noted the end of one by then is gone. */
const LEASE_MS = 60_000

/**
 * Sends what is due of a tenant, up to ten at a time; answers how many. Order of effects, and what a crash between them
 * leaves: (1) the attempt is counted and leased, its mails are counted too; (2) it is sent; (3) its end is
 * noted: otherwise it is sent again after the lease, under the same id.
 */
export async function deliverDue(deps: DeliverDeps, tenant: TenantId): Promise<number> {
  const { pool, now } = deps
  const at = now()
  const { claimed, allowed } = await withTenant(pool, tenant, async (tx) => {
    const claimed = await claimDeliveries(tx, new Date(at), new Date(at + LEASE_MS), MOST_AT_ONCE)
    return { claimed, allowed: deps.mailer ? await allowMails(tx, claimed, at) : new Set<Claimed>() }
  })
  const ends = await Promise.allSettled(
    claimed.map(async (one) => {
      const end = await attempt(deps, one, allowed.has(one))
      deps.attempted(end.error === undefined ? 'delivered' : 'failed')
      await withTenant(pool, tenant, (tx) => endAttempt(tx, one, end))
    }),
  )
  for (const end of ends) if (end.status === 'rejected') throw end.reason
  return claimed.length
}

async function attempt(deps: DeliverDeps, claimed: Claimed, mayMail: boolean): Promise<AttemptEnd> {
  const { now, random, allowPrivate } = deps
  const { eventId, payload, attempts, url, secret, takenBy } = claimed
  if (secret === null)
    return { error: 'the webhook was deleted', nextAttemptAt: undefined, at: new Date(now()), takenBy }
  const post = (): Post => ({ url, headers: signedHeaders(secret, eventId, now(), payload), body: payload })
  const sent = isMailUrl(url)
    ? await mailOnce(deps.mailer, claimed, mayMail)
    : { takenBy: [], error: await sendOnce(post(), { allowPrivate }) }
  const endedMs = now()
  const delayMs = sent.error === undefined ? undefined : retryDelayMs(attempts, random())
  return {
    error: sent.error,
    nextAttemptAt: delayMs === undefined ? undefined : new Date(endedMs + delayMs),
    at: new Date(endedMs),
    takenBy: [...takenBy, ...sent.takenBy],
  }
}

async function mailOnce(mailer: Mailer | undefined, claimed: Claimed, mayMail: boolean): Promise<Sent> {
  const left = addressesLeft(claimed)
  if (left.length === 0) return { takenBy: [], error: undefined }
  if (!mailer) return { takenBy: [], error: 'MAIL_NOT_SET_UP' }
  if (!mayMail) return { takenBy: [], error: 'MAIL_LIMIT_REACHED' }
  return mailer.send(mailOf(claimed, addressesOf(claimed.url), mailer.from), left)
}
