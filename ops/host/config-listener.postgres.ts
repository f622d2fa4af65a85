import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'

/** `table` is '*' when anything may have changed: after every (re)connection, since nobody listened before it. */
export type ConfigChange = (table: string, tenantId: number) => void
export type ConfigListener = { stop(): Promise<void> }

const CHANNEL = 'tallyline_config'
const FIRST_DELAY_MS = 100
const LONGEST_DELAY_MS = 5_000
const GOODBYE_MS = 1_000

/**
 * Reports changes of cached configuration as Postgres announces them. One connection of its own a process; when it
 * breaks it is opened again, ever more patiently. Not a substitute for the regular refresh, for a dead network is silent.
 */
export function listenForConfig(url: string, onChange: ConfigChange, onError: (error: Error) => void): ConfigListener {
  const stopping = new AbortController()
  const stopped = new Promise<void>((resolve) => {
    stopping.signal.addEventListener('abort', () => resolve(), { once: true })
  })
  const run = async () => {
    for (let delayMs = FIRST_DELAY_MS; !stopping.signal.aborted; delayMs = Math.min(delayMs * 2, LONGEST_DELAY_MS)) {
      const client = newClient(url)
      const listened = listen(client, onChange, () => {
        delayMs = FIRST_DELAY_MS
      })
      await Promise.race([listened, stopped]).catch(onError)
      await Promise.race([client.end().catch(() => undefined), sleep(GOODBYE_MS, undefined, { ref: false })])
      await sleep(delayMs, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }
  const done = run()
  return {
    stop: () => {
      stopping.abort()
      return done
    },
  }
}

/** What a notification's payload names; everything when it cannot be read. */
export function readPayload(payload: string | undefined): [table: string, tenantId: number] {
  const [, table, tenant] = /^([a-z_]+):(\d+)$/.exec(payload ?? '') ?? []
  return table && tenant ? [table, Number(tenant)] : ['*', 0]
}

function newClient(url: string): pg.Client {
  return new pg.Client({
    connectionString: url,
    options: '-c role=tallyline_app',
    application_name: 'tallyline config listener',
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
  })
}

/** Runs until the connection fails, and rejects with why. */
function listen(client: pg.Client, onChange: ConfigChange, onConnected: () => void): Promise<never> {
  return new Promise((_, fail) => {
    client.on('error', fail)
    client.on('end', () => fail(new Error('Postgres closed the connection of the config listener')))
    client.on('notification', (message) => onChange(...readPayload(message.payload)))
    const connect = async () => {
      await client.connect()
      await client.query(`LISTEN ${CHANNEL}`)
      onConnected()
      onChange('*', 0)
    }
    connect().catch(fail)
  })
}
