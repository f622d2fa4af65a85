import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { openEngine } from './engine.clickhouse.ts'
import { createFront } from './front.ts'

/**
 * `main.ts FOLDER PORT CONNECTIONS`: what stands for a ClickHouse server where no Docker engine runs one. The SQL is
 * ClickHouse's own (chDB is ClickHouse 26.7 in a library); only the HTTP around it is ours. Users, sessions,
 * external tables and the protocol's own block compression are not there. ClickHouse proper is covered by
 * testcontainers on machines with Docker, and nowhere else.
 */
const [folder, portText, connectionsText] = process.argv.slice(2)
if (!folder || !portText || !connectionsText) throw new Error('Usage: main.ts FOLDER PORT CONNECTIONS')

const STOP_WITHIN_MS = 15_000

mkdirSync(folder, { recursive: true, mode: 0o700 })
const engine = await openEngine(join(folder, 'data'), Number(connectionsText))
const front = createFront(engine, join(folder, 'scratch'))
front.listen(Number(portText), '127.0.0.1')
front.once('error', (error) => {
  process.stderr.write(`${error.message}\n`)
  process.exit(1)
})

let stopping = false
function stop(): void {
  if (stopping) return
  stopping = true
  // The engine cannot be interrupted; whoever waits for us to end must not wait for ever.
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), STOP_WITHIN_MS).unref()
  front.close(() => {
    void engine.close().then(() => process.exit(0))
  })
  front.closeIdleConnections()
}
process.on('SIGTERM', stop)
process.on('SIGINT', stop)
