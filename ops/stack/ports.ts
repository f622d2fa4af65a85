import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

/**
 * A free port on 127.0.0.1 below those the system lends to outgoing connections (from 32768 on Linux): while a server
 * is down for a test, nobody else must be given its port.
 */
export async function stackPort(): Promise<number> {
  for (let tries = 0; tries < 100; tries++) {
    const port = randomInt(20_000, 32_000)
    if (await canListen(port)) return port
  }
  throw new Error('No free port between 20000 and 32000')
}

function canListen(port: number): Promise<boolean> {
  return new Promise((tell) => {
    const probe = createServer()
    probe.once('error', () => tell(false))
    probe.listen(port, '127.0.0.1', () => probe.close(() => tell(true)))
  })
}
