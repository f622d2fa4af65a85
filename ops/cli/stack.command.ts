import { parseArgs } from 'node:util'
import { startStack } from '../stack/stack.ts'

const HELP = `Usage: npm run stack

Starts Kafka, Redis, ClickHouse and Postgres for development and prints how to reach them; Ctrl-C stops them and
removes what they wrote. With a Docker engine they run in containers. Without one they run natively: Kafka needs java
and mvn, Redis needs redis-server, and in ClickHouse's place stands an HTTP front over chDB.

  --folder FOLDER  keep their data there, and find it again at the next start (not with Docker)
`

type Streams = { stdout: NodeJS.WritableStream; stderr: NodeJS.WritableStream }

/** Runs until SIGINT or SIGTERM. Returns the exit code. */
export async function stackCommand(argv: string[], { stdout, stderr }: Streams): Promise<number> {
  const { values } = parseArgs({ args: argv, options: { folder: { type: 'string' }, help: { type: 'boolean' } } })
  if (values.help) {
    stdout.write(HELP)
    return 0
  }
  // Before anything starts: a Ctrl-C while they start stops them as soon as they have.
  const interrupted = stopSignal()
  let stack: Awaited<ReturnType<typeof startStack>>
  try {
    stack = await startStack(values.folder === undefined ? {} : { folder: values.folder })
  } catch (error) {
    stderr.write(`${(error as Error).message}\n`)
    return 1
  }
  stderr.write(`The servers run ${stack.by === 'docker' ? 'in containers' : 'natively'}. Ctrl-C stops them.\n`)
  for (const [name, value] of Object.entries(stack.env)) stdout.write(`export ${name}=${value}\n`)
  // Servers do not keep this process alive, so something must until the signal comes.
  const alive = setInterval(() => undefined, 60_000)
  const signal = await interrupted
  stderr.write(`Stopping (${signal})…\n`)
  await stack.stop()
  clearInterval(alive)
  stderr.write('Stopped; nothing is left.\n')
  return 0
}

function stopSignal(): Promise<string> {
  return new Promise((stop) => {
    // Stays for good: a second Ctrl-C must not leave half of them behind.
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop(signal))
  })
}
