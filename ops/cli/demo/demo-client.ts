import { setTimeout as sleep } from 'node:timers/promises'
import type { Static, TSchema } from 'typebox'
import { Check } from 'typebox/value'
import { ProblemDocument } from '../../../schemas/http/problem.ts'
import { networkReason, parsedOrText } from '../http-answers.ts'

const ATTEMPTS = 8
const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 5_000
const REQUEST_LIMIT_MS = 60_000

export type DemoRequest = {
  method: 'GET' | 'PUT' | 'POST'
  /** Below /api/v1, its parts already encoded. */
  path: string
  body?: unknown
  /** Bytes sent as they are, instead of `body`. */
  gzippedJson?: Uint8Array
}
export type DemoClient = {
  /** Sends until there is a final answer; checks its shape; anything but 2xx is an error with the problem in it. */
  call<Answer extends TSchema>(request: DemoRequest, answer: Answer): Promise<Static<Answer>>
}
export type DemoClientOptions = {
  url: string
  apiKey: string
  signal?: AbortSignal
  /** For tests: how long to wait before the next attempt. */
  pauseMs?: (attempt: number, retryAfterMs: number) => number
}

/** Every request of the demo may be sent twice: events carry their ids, everything else is PUT or has a key. */
export function createDemoClient(options: DemoClientOptions): DemoClient {
  const { signal, pauseMs = fullJitterMs } = options
  return {
    async call(request, answer) {
      for (let attempt = 1; ; attempt++) {
        const tried = await attemptOnce(options, request)
        if ('body' in tried) return checked(request, answer, tried.body)
        signal?.throwIfAborted()
        if (!tried.retryable) throw tried.error
        if (attempt === ATTEMPTS) {
          throw new Error(`${tried.error.message} (gave up after ${ATTEMPTS} attempts)`, { cause: tried.error.cause })
        }
        await sleep(pauseMs(attempt, tried.retryAfterMs), undefined, { signal })
      }
    },
  }
}

/** The problem document of a refused request, if the error has one. */
export function problemOf(error: unknown): ProblemDocument | undefined {
  const cause = error instanceof Error ? error.cause : undefined
  return Check(ProblemDocument, cause) ? cause : undefined
}

type Attempt = { body: unknown } | { error: Error; retryable: boolean; retryAfterMs: number }

async function attemptOnce(options: DemoClientOptions, request: DemoRequest): Promise<Attempt> {
  const { method, path } = request
  const limit = AbortSignal.timeout(REQUEST_LIMIT_MS)
  try {
    const response = await fetch(`${options.url.replace(/\/+$/, '')}/api/v1${path}`, {
      method,
      headers: headersOf(options.apiKey, request),
      body: request.gzippedJson ?? (request.body === undefined ? null : JSON.stringify(request.body)),
      signal: options.signal ? AbortSignal.any([limit, options.signal]) : limit,
    })
    const body = parsedOrText(await response.text())
    if (response.ok) return { body }
    const retryAfterSeconds = Number(response.headers.get('retry-after') ?? 0)
    const retryAfterMs = Number.isFinite(retryAfterSeconds) ? retryAfterSeconds * 1000 : 0
    return { ...refusal(request, response.status, body), retryAfterMs }
  } catch (cause) {
    const reason = networkReason(cause)
    return {
      error: new Error(`No answer to ${method} ${path} from ${options.url}: ${reason}`),
      retryable: true,
      retryAfterMs: 0,
    }
  }
}

function headersOf(apiKey: string, request: DemoRequest): Record<string, string> {
  const headers: Record<string, string> = { authorization: `Bearer ${apiKey}`, accept: 'application/json' }
  if (request.body !== undefined || request.gzippedJson) headers['content-type'] = 'application/json'
  if (request.gzippedJson) headers['content-encoding'] = 'gzip'
  return headers
}

function refusal(request: DemoRequest, status: number, body: unknown): { error: Error; retryable: boolean } {
  const answered = `${request.method} ${request.path} was answered with ${status}`
  if (!Check(ProblemDocument, body)) return { error: new Error(`${answered}.`), retryable: status === 503 }
  const first = body.errors?.[0]
  const where = first ? ` (${first.path}: ${first.message})` : ''
  const error = new Error(`${answered} ${body.code}: ${body.detail}${where}`, { cause: body })
  return { error, retryable: status === 503 || body.retryable }
}

function checked<Answer extends TSchema>(request: DemoRequest, answer: Answer, body: unknown): Static<Answer> {
  if (Check(answer, body)) return body
  throw new Error(`${request.method} ${request.path} was answered in a form that the demo does not know.`)
}

/** Full jitter: anything up to the doubled pause, after what the server asked for. */
function fullJitterMs(attempt: number, retryAfterMs: number): number {
  const pauseMs = Math.random() * FIRST_PAUSE_MS * 2 ** (attempt - 1)
  return Math.min(retryAfterMs + pauseMs, LONGEST_PAUSE_MS)
}
