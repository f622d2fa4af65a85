import { gunzipSync } from 'node:zlib'
import type { FetchLike } from '../../../sdk/typescript/src/post.ts'

export type Sent = {
  path: string
  headers: Record<string, string>
  zipped: boolean
  text: string
  /** The body as JSON. */
  body: unknown
  /** Of a batch of events. */
  ids: string[]
}
export type Scripted = { status: number; body?: unknown; headers?: Record<string, string> }
/** Throws, or returns a promise that never settles, for a network that does. */
export type Script = (sent: Sent, index: number) => Scripted | Promise<Scripted>

/** A fetch that answers as the script says, and what it was asked. */
export function scriptedServer(script: Script = acceptAll): { fetch: FetchLike; sent: Sent[] } {
  const sent: Sent[] = []
  const fetch: FetchLike = async (url, { headers, body }) => {
    const zipped = headers['content-encoding'] === 'gzip'
    const text = typeof body === 'string' ? body : gunzipSync(body).toString()
    const parsed: unknown = text === '' ? undefined : JSON.parse(text)
    const ids = Array.isArray(parsed) ? parsed.map((event: { id: string }) => event.id) : []
    const request = { path: new URL(url).pathname, headers, zipped, text, body: parsed, ids }
    const index = sent.push(request) - 1
    const answer = await script(request, index)
    const written = new Headers(answer.headers)
    return {
      status: answer.status,
      headers: { get: (name) => written.get(name) },
      text: async () => (answer.body === undefined ? '' : JSON.stringify(answer.body)),
    }
  }
  return { fetch, sent }
}

/** An answer with these outcomes, in the order sent. */
export function outcomes(status: number, list: (string | Record<string, unknown>)[]): Scripted {
  const members = list.map((each, index) => ({ index, ...(typeof each === 'string' ? { outcome: each } : each) }))
  return { status, body: { outcomes: members } }
}

export function acceptAll({ ids }: Sent): Scripted {
  return outcomes(
    202,
    ids.map(() => 'accepted'),
  )
}
