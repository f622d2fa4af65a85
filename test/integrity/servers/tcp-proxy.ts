import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

/** Stands before a TCP server, under an address that stays the same while another server takes its place. */
export type TcpProxy = {
  port: number
  /** From now on connections go to this port; those that are there end. Undefined: to nobody. */
  switchTo(port: number | undefined): void
  close(): Promise<void>
}

/**
 * With `delayMs` what the server says arrives so much later, in its order; what is still on its way when the server dies is
 * lost, as with a server that dies with its machine.
 */
export async function startTcpProxy(target: number | undefined, delayMs = 0): Promise<TcpProxy> {
  let port = target
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    if (port === undefined) {
      client.destroy()
      return
    }
    const upstream = connect(port, '127.0.0.1')
    join(client, upstream)
    join(upstream, client)
    client.pipe(upstream)
    if (delayMs === 0) upstream.pipe(client)
    else upstream.on('data', (bytes) => setTimeout(() => client.write(bytes), delayMs))
  })
  const join = (socket: Socket, other: Socket) => {
    sockets.add(socket)
    socket.setNoDelay(true)
    // The end of a connection is all there is to know.
    socket.on('error', () => undefined)
    socket.on('close', () => {
      sockets.delete(socket)
      other.destroy()
    })
  }
  const endAll = () => {
    for (const socket of sockets) socket.destroy()
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (!address || typeof address === 'string') throw new Error('The proxy has no port')
  return {
    port: address.port,
    switchTo: (other) => {
      port = other
      endAll()
    },
    close: async () => {
      server.close()
      endAll()
      await once(server, 'close')
    },
  }
}
