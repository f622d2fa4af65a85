/** A small client of the product's API, for tests: one attempt, no retries, whatever the status. */
export type Answer<Body = unknown> = { status: number; body: Body }
export type Method = 'GET' | 'PUT' | 'POST' | 'PATCH'
export type Api = {
  /** The answer, of whatever status; throws only when there is none. */
  send<Body = unknown>(method: Method, path: string, body?: unknown): Promise<Answer<Body>>
  /** The body of a 2xx answer; anything else is an error that quotes it. */
  call<Body = unknown>(method: Method, path: string, body?: unknown): Promise<Body>
}

const ANSWER_LIMIT_MS = 30_000

/** `path` lies below /api/v1, except that of health and documents, which begin with two slashes. */
export function apiOf(url: string, key: string): Api {
  const send: Api['send'] = async <Body>(method: string, path: string, body?: unknown) => {
    const response = await fetch(path.startsWith('//') ? `${url}${path.slice(1)}` : `${url}/api/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
    })
    const text = await response.text()
    return { status: response.status, body: (text === '' ? null : JSON.parse(text)) as Body }
  }
  return {
    send,
    call: async <Body>(method: Method, path: string, body?: unknown) => {
      const answer = await send<Body>(method, path, body)
      if (answer.status >= 200 && answer.status < 300) return answer.body
      throw new Error(`${method} ${path} was answered with ${answer.status}: ${JSON.stringify(answer.body)}`)
    },
  }
}
