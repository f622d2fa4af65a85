import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import { hostOf } from './endpoint-url.ts'
import { isPublicAddress } from './public-address.ts'
import { type Resolve, resolverOf } from './resolve.ts'

export type Post = { url: string; headers: Record<string, string>; body: string }
/** Private addresses and plain http may be told too: for tests, and for receivers beside the product. */
export type SendOptions = { allowPrivate: boolean; timeoutMs?: number; lookup?: LookupFunction }

const TIMEOUT_MS = 10_000
const NOT_ALLOWED = 'ADDRESS_NOT_ALLOWED'

/**
 * Sends once, within 10 s from the look-up to the head of the answer, of which only the status is read; redirects are
 * not followed. Answers why it failed, in a few words, or undefined for a 2xx. Never rejects.
 */
export function sendOnce({ url: text, headers, body }: Post, options: SendOptions): Promise<string | undefined> {
  const { allowPrivate, timeoutMs = TIMEOUT_MS, lookup = lookupPublic } = options
  const url = new URL(text)
  const host = hostOf(url)
  // Addresses in the URL itself are not looked up.
  const refused = !allowPrivate && (url.protocol !== 'https:' || (isIP(host) !== 0 && !isPublicAddress(host)))
  if (refused) return Promise.resolve(NOT_ALLOWED)
  return new Promise((done) => {
    const request = (url.protocol === 'https:' ? requestHttps : requestHttp)(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
        'user-agent': 'Tallyline-Webhooks/1',
        ...headers,
      },
      // A connection of its own, whose address was just looked at.
      agent: false,
      signal: AbortSignal.timeout(timeoutMs),
      ...(allowPrivate ? {} : { lookup }),
    })
    request.on('response', (response) => {
      const { statusCode = 0 } = response
      response.on('error', () => undefined)
      response.destroy()
      done(statusCode >= 200 && statusCode < 300 ? undefined : `answered ${statusCode}`)
    })
    request.on('upgrade', ({ statusCode = 101 }, socket) => {
      socket.destroy()
      done(`answered ${statusCode}`)
    })
    request.on('error', (error: NodeJS.ErrnoException) => done(nameOf(error)))
    // The last word: whatever else becomes of a request, the attempt ends.
    request.on('close', () => done('no answer'))
    request.end(body)
  })
}

/**
 * Looks a name up for the connection that is being made, and fails unless all its addresses are public: what is
 * connected to is what was looked at, so a name that changes its addresses (DNS rebinding) does not get through.
 */
export function publicLookup(resolve: Resolve): LookupFunction {
  return (hostname, options, done) => {
    resolve(hostname, (error, addresses) => {
      const [first] = addresses ?? []
      if (error || !first) return done(error ?? failure('ENOTFOUND'), [])
      if (!addresses.every(({ address }) => isPublicAddress(address))) return done(failure(NOT_ALLOWED), [])
      return options.all ? done(null, addresses) : done(null, first.address, first.family)
    })
  }
}
const lookupPublic = publicLookup(resolverOf())

function failure(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(code), { code })
}

/** A code and no more: a message may tell of what lies around the product. */
function nameOf({ name, code }: NodeJS.ErrnoException): string {
  return name === 'AbortError' || name === 'TimeoutError' ? 'no answer in time' : String(code ?? name)
}
