import { retryDelayMs } from './backoff.ts'
import type { Settings } from './settings.ts'

/** Requests in a row without an answer that can be used, and when to try again. */
export type Retry = { failures: number; askAgainMs: number }

export type LeaseHealth = {
  mayAsk: (account: Retry) => boolean
  /** To be called before a request: true for the one that looks whether a server that was away is back. */
  begin: () => boolean
  end: (isProbe: boolean) => void
  answered: (account: Retry) => void
  /** The server is there, but refuses this one. */
  refused: (account: Retry, retryAfterMs: number) => void
  away: (isProbe: boolean, retryAfterMs: number) => void
  isServerAway: () => boolean
  /** Nobody waits for the next answer. */
  isAway: (account: Retry) => boolean
}

const FIRST_RETRY_MS = 100
const LONGEST_RETRY_MS = 5_000
/** Decisions are made without the server meanwhile: they do not wait as long as events may. */
const LONGEST_RETRY_AFTER_MS = 60_000
/** When nobody has asked for so long, what the last answer was says nothing, and the next decision waits for a new one. */
const STALE_MS = 10_000

/**
 * Whether leases can be had. A server that is away is away for all: one request at a time looks whether it is back. One
 * that refuses a subject or a meter (4xx) says nothing about the others.
 */
export function createLeaseHealth({ clock, random }: Pick<Settings, 'clock' | 'random'>): LeaseHealth {
  const server: Retry = { failures: 0, askAgainMs: 0 }
  let probing = false

  const failed = (retry: Retry, retryAfterMs: number) => {
    const delayMs = retryDelayMs(retry.failures, FIRST_RETRY_MS, LONGEST_RETRY_MS, random)
    retry.askAgainMs = clock.monotonicMs() + delayMs + Math.min(retryAfterMs, LONGEST_RETRY_AFTER_MS)
    retry.failures++
  }
  const isServerAway = () => server.failures > 0 && (probing || clock.monotonicMs() < server.askAgainMs + STALE_MS)
  return {
    mayAsk: (account) => {
      const nowMs = clock.monotonicMs()
      return !probing && nowMs >= server.askAgainMs && nowMs >= account.askAgainMs
    },
    begin: () => {
      probing = server.failures > 0
      return probing
    },
    end: (isProbe) => {
      if (isProbe) probing = false
    },
    answered: (account) => {
      Object.assign(account, { failures: 0, askAgainMs: 0 })
      Object.assign(server, { failures: 0, askAgainMs: 0 })
    },
    refused: (account, retryAfterMs) => {
      failed(account, retryAfterMs)
      Object.assign(server, { failures: 0, askAgainMs: 0 })
    },
    away: (isProbe, retryAfterMs) => {
      // Of requests that failed together the first says it; the others must not lengthen the wait.
      if (isProbe || server.failures === 0) failed(server, retryAfterMs)
    },
    isServerAway,
    isAway: (account) => account.failures > 0 || isServerAway(),
  }
}
