import { createSocket } from 'node:dgram'
import { once } from 'node:events'

/** IPv4 as usual, IPv6 in full: eight groups. Nothing of a family: names have no address of it. */
export type Addresses = { 4?: readonly string[]; 6?: readonly string[] }
export type NameServer = { address: string; close(): Promise<void> }

const TYPES = { 1: 4, 28: 6 } as const
const HEADER_BYTES = 12

/** A name server on 127.0.0.1 that tells the same addresses of every name; `dead`: it never says anything. */
export async function openNameServer(addresses: Addresses | 'dead'): Promise<NameServer> {
  const socket = createSocket('udp4')
  socket.on('message', (query, { port, address }) => {
    if (addresses !== 'dead') socket.send(answerTo(query, addresses), port, address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return {
    address: `127.0.0.1:${socket.address().port}`,
    close: async () => {
      socket.close()
      await once(socket, 'close')
    },
  }
}

/** RFC 1035, 4.1: header, the question as it came, and answers that point to its name. */
function answerTo(query: Buffer, addresses: Addresses): Buffer {
  const question = query.subarray(HEADER_BYTES, query.indexOf(0, HEADER_BYTES) + 5)
  const type = question.readUInt16BE(question.length - 4)
  const family = type === 1 || type === 28 ? TYPES[type] : undefined
  const all = (family && addresses[family]) ?? []
  const header = Buffer.from(query.subarray(0, HEADER_BYTES))
  header.writeUInt16BE(0x8180, 2)
  for (const [place, count] of [1, all.length, 0, 0].entries()) header.writeUInt16BE(count, 4 + 2 * place)
  const answers = all.map((address) => {
    const data = Buffer.from(
      family === 4
        ? address.split('.').map(Number)
        : address.split(':').flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]),
    )
    const head = Buffer.from([0xc0, HEADER_BYTES, 0, type, 0, 1, 0, 0, 0, 60, 0, data.length])
    return Buffer.concat([head, data])
  })
  return Buffer.concat([header, question, ...answers])
}
