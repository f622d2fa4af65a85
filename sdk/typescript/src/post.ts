import { isKey, type Settings } from './settings.ts'
import { zip } from './zip.ts'

/** As much of fetch as is used. */
export type FetchLike = (
  url: string,
  init: {
    method: string
    headers: Record<string, string>
    body: string | Uint8Array<ArrayBuffer>
    signal: AbortSignal
    redirect: 'manual'
  },
) => Promise<{ status: number; headers: { get: (name: string) => string | null }; text: () => Promise<string> }>

export type Answer =
  | { status: number; retryAfter: string | null; body: unknown }
  /** No answer came. */
  | { status: 0; message: string }

export type Post = (path: string, json: string, headers?: Record<string, string>, timeoutMs?: number) => Promise<Answer>

/** Sends JSON and reads the answer whole, so that the connection can be used again. Never rejects. */
export function createPost(settings: Settings): Post {
  const { fetch, clock, requestTimeoutMs, gzipFromBytes } = settings
  const ask = async (path: string, json: string, given: Record<string, string>, signal: AbortSignal) => {
    const headers: Record<string, string> = { ...given }
    headers['content-type'] ??= 'application/json'
    const zipped = json.length >= gzipFromBytes ? await zip(json) : undefined
    const body = zipped && !isTooDense(json, zipped) ? zipped : json
    if (body === zipped) headers['content-encoding'] = 'gzip'
    const init = { method: 'POST', headers, body, signal, redirect: 'manual' as const }
    const response = await fetch(settings.url + path, init)
    const answer = parsed(await response.text())
    return { status: response.status, retryAfter: response.headers.get('retry-after'), body: answer }
  }
  return async (path, json, extra = {}, timeoutMs = requestTimeoutMs) => {
    const giveUp = new AbortController()
    const cancel = clock.after(timeoutMs, () => giveUp.abort(new Error(`no answer in ${timeoutMs} ms`)))
    let key = ''
    try {
      key = settings.key()
      if (!isKey(key)) return { status: 0, message: 'the key is empty or has characters that no key has' }
      const headers = { authorization: `Bearer ${key}`, ...extra }
      return await Promise.race([ask(path, json, headers, giveUp.signal), aborted(giveUp.signal)])
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      return { status: 0, message: key === '' ? message : message.replaceAll(key, '(key)') }
    } finally {
      cancel()
    }
  }
}

/** The server takes a body of gzip for a bomb when it unpacks to more than this. */
const PLAUSIBLE_BYTES = 65_536
const PLAUSIBLE_RATIO = 50

function isTooDense(json: string, zipped: Uint8Array): boolean {
  const most = Math.max(PLAUSIBLE_BYTES, PLAUSIBLE_RATIO * zipped.length)
  // A character is three bytes at most, so that bodies are seldom counted.
  return json.length * 3 > most && new TextEncoder().encode(json).length > most
}

/** A fetch that does not listen to its signal is given up all the same. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
