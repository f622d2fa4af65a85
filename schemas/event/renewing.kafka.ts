type Client = { connect(): Promise<unknown>; disconnect(): Promise<void> }

/** A client of Kafka that is replaced when it does not answer. */
export type Renewing<C extends Client> = {
  connect(): Promise<void>
  /** Rejects when the work is not done in time, and leaves that client behind. `ended` is called when it really ends. */
  use<T>(withinMs: number, work: (client: C) => Promise<T>, ended?: () => void): Promise<T>
  close(): Promise<void>
}

type Line<C> = { client: C; ready: Promise<unknown>; state: 'connecting' | 'connected' | 'failed'; works: Set<unknown> }

/**
 * A client goes on using a connection whose other end died without a word until the system gives it up, which takes a
 * quarter of an hour. So work has a time, and after work that was late the next gets a client with connections of its
 * own. The old one is disconnected at once, which ends the work that waits for it: what it may still hold is bounded by
 * time, and nothing is sent long after somebody was told that it was not.
 */
export function renewing<C extends Client>(open: () => C): Renewing<C> {
  const newLine = (): Line<C> => {
    const client = open()
    const line: Line<C> = { client, ready: client.connect(), state: 'connecting', works: new Set() }
    line.ready.then(
      () => {
        line.state = 'connected'
      },
      () => {
        line.state = 'failed'
      },
    )
    return line
  }
  let current: Line<C> | undefined
  const leave = (line: Line<C>) => {
    // One that is still connecting is as new as another would be.
    if (line !== current || line.state === 'connecting') return
    current = undefined
    void line.client.disconnect().catch(() => undefined)
  }

  return {
    connect: async () => {
      current ??= newLine()
      await current.ready
    },
    use: async (withinMs, work, ended) => {
      if (current?.state === 'failed') leave(current)
      current ??= newLine()
      const line = current
      const result = line.ready.then(() => work(line.client))
      line.works.add(result)
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<never>((_, fail) => {
        timer = setTimeout(() => {
          leave(line)
          fail(new Error(`Kafka did not answer within ${withinMs} ms`))
        }, withinMs)
      })
      const end = () => {
        line.works.delete(result)
        ended?.()
      }
      result.then(end, end)
      return Promise.race([result, late]).finally(() => clearTimeout(timer))
    },
    close: async () => {
      const line = current
      current = undefined
      await line?.client.disconnect()
    },
  }
}
