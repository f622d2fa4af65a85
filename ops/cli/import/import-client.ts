import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { Type } from 'typebox'
import { Check } from 'typebox/value'
import { networkReason, parsedOrText } from '../http-answers.ts'

const gzipAsync = promisify(gzip)

const ATTEMPTS = 20
const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 10_000
const REQUEST_LIMIT_MS = 60_000
/** The product takes no gzip that unpacks to more than 50 times its size. */
const MOST_EXPANSION = 40

export type Outcome = { outcome: string; code?: string; path?: string; message?: string }
const Outcomes = Type.Object({
  outcomes: Type.Array(
    Type.Object({
      outcome: Type.String(),
      code: Type.Optional(Type.String()),
      path: Type.Optional(Type.String()),
      message: Type.Optional(Type.String()),
    }),
  ),
})
const Problem = Type.Object({
  code: Type.String(),
  detail: Type.String(),
  errors: Type.Optional(Type.Array(Type.Object({ path: Type.String(), message: Type.String() }))),
})

export type Answer = { status: number; body: unknown }
export type ImportClient = {
  /** Sends until there is a final answer. */
  call(method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, body?: object): Promise<Answer>
  /** Sends events, each as its JSON, until each of them has its outcome. Repeats carry the same ids. */
  send(path: string, eventsJson: readonly string[]): Promise<Outcome[]>
}
export type ImportClientOptions = {
  url: string
  key: string
  /** For tests: how long to wait before the next attempt. */
  pauseMs?: (attempt: number, retryAfterMs: number) => number
}

export function createImportClient(options: ImportClientOptions): ImportClient {
  const { pauseMs = jitteredMs } = options
  const until = async (what: string, attempt: () => Promise<Tried>): Promise<Answer> => {
    for (let count = 1; ; count++) {
      const tried = await attempt()
      if ('answer' in tried) return tried.answer
      if (count === ATTEMPTS) throw new Error(`${what}: ${tried.reason} (gave up after ${ATTEMPTS} attempts)`)
      await sleep(pauseMs(count, tried.retryAfterMs))
    }
  }
  return {
    call: (method, path, body) => {
      const json = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
      return until(`${method} ${path}`, () => attemptOnce(options, method, path, json))
    },
    send: async (path, eventsJson) => {
      const json = Buffer.from(`[${eventsJson.join(',')}]`)
      const packed = await gzipAsync(json)
      const gzipped = packed.length * MOST_EXPANSION >= json.length
      const answer = await until(`POST ${path}`, () =>
        attemptOnce(options, 'POST', path, gzipped ? packed : json, gzipped),
      )
      if (Check(Outcomes, answer.body) && answer.body.outcomes.length === eventsJson.length) return answer.body.outcomes
      throw refused(`POST ${path}`, answer)
    },
  }
}

/** What an answer that is no success says, as an error. */
export function refused(what: string, { status, body }: Answer): Error {
  if (!Check(Problem, body)) return new Error(`${what} was answered with ${status}`)
  const errors = (body.errors ?? []).map(({ path, message }) => `\n  ${path}: ${message}`)
  return new Error(`${what} was answered with ${status} ${body.code}: ${body.detail}${errors.join('')}`)
}

type Tried = { answer: Answer } | { reason: string; retryAfterMs: number }

async function attemptOnce(
  { url, key }: ImportClientOptions,
  method: string,
  path: string,
  body?: Buffer,
  gzipped = false,
): Promise<Tried> {
  const headers: Record<string, string> = { authorization: `Bearer ${key}`, accept: 'application/json' }
  if (body) headers['content-type'] = 'application/json'
  if (gzipped) headers['content-encoding'] = 'gzip'
  try {
    const signal = AbortSignal.timeout(REQUEST_LIMIT_MS)
    const response = await fetch(`${url}/api/v1${path}`, { method, headers, body: body ?? null, signal })
    const answer = { status: response.status, body: parsedOrText(await response.text()) }
    if (!mayComeLater(answer)) return { answer }
    const retryAfterMs = Number(response.headers.get('retry-after') ?? 0) * 1_000
    const { message } = refused(`${method} ${path}`, answer)
    return { reason: message, retryAfterMs: Number.isFinite(retryAfterMs) ? retryAfterMs : 0 }
  } catch (error) {
    return { reason: `no answer from ${url}: ${networkReason(error)}`, retryAfterMs: 0 }
  }
}

/** 429 with outcomes is final: a quota refused the events. */
function mayComeLater({ status, body }: Answer): boolean {
  return [502, 503, 504].includes(status) || (status === 429 && !Check(Outcomes, body))
}

/** Anything up to the doubled pause, after what the product asked for. */
function jitteredMs(attempt: number, retryAfterMs: number): number {
  return retryAfterMs + Math.random() * Math.min(FIRST_PAUSE_MS * 2 ** attempt, LONGEST_PAUSE_MS)
}
