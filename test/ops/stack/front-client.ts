import { readFileSync } from 'node:fs'
import { type IncomingHttpHeaders, request } from 'node:http'
import { type Stack, startStack } from '../../../ops/stack/stack.ts'

export type Answer = { status: number; headers: IncomingHttpHeaders; body: Buffer; text: string; broken: boolean }
export type Sent = {
  method?: string
  path?: string
  query?: Record<string, string>
  headers?: Record<string, string>
  body?: Buffer | string
}
export type Front = {
  url: string
  send(sent: Sent): Promise<Answer>
  /** Fails unless the answer is 200. */
  ok(sent: Sent): Promise<Answer>
  rowsOf(sql: string): Promise<string>
  /** Resident megabytes of its process, where /proc tells them. */
  rss(): number
  stop(): Promise<void>
}

/** A front of its own with an empty table `t`. */
export async function startFront(): Promise<Front> {
  const stack: Stack<'clickhouse'> = await startStack({ only: ['clickhouse'], by: 'native' })
  const { url, pid } = stack.clickhouse
  const ok = async (sent: Sent) => {
    const answer = await send(url, sent)
    if (answer.status !== 200) throw new Error(answer.text)
    return answer
  }
  const columns = "a Int32, b String DEFAULT concat('default ', toString(a)), at DateTime64(3, 'UTC')"
  await ok({ body: `CREATE TABLE t (${columns}) ENGINE = MergeTree ORDER BY a` })
  return {
    url,
    send: (sent) => send(url, sent),
    ok,
    rowsOf: async (sql) => (await ok({ query: { query: `${sql} FORMAT TSV` } })).text,
    rss: () => rssOf(pid),
    stop: () => stack.stop(),
  }
}

/** A request whose bytes are ours: fetch would decode the answer and choose headers. */
function send(url: string, { method = 'POST', path = '/', query = {}, headers = {}, body }: Sent): Promise<Answer> {
  return new Promise((done, fail) => {
    const search = new URLSearchParams(query).toString()
    const sent = request(
      `${url}${path}${search ? `?${search}` : ''}`,
      { method, headers, agent: false },
      (response) => {
        const parts: Buffer[] = []
        const finish = (broken: boolean) => {
          const whole = Buffer.concat(parts)
          done({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: whole,
            text: whole.toString(),
            broken,
          })
        }
        response.on('data', (part: Buffer) => parts.push(part))
        response.on('end', () => finish(false))
        response.on('error', () => finish(true))
      },
    )
    sent.on('error', fail)
    sent.end(body)
  })
}

function rssOf(pid: number | undefined): number {
  if (process.platform !== 'linux') return 0
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1_024
}
