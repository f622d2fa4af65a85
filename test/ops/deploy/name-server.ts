import { createSocket } from 'node:dgram'

export type NameServer = { port: number; names: Map<string, string[]>; close(): Promise<void> }

const HEADER_BYTES = 12
const TYPE_A = 1

/** A name server on 127.0.0.1 that answers as Docker's does: one address for each process of a service. */
export async function startNameServer(): Promise<NameServer> {
  const names = new Map<string, string[]>()
  const socket = createSocket('udp4')
  socket.on('message', (query, asker) => socket.send(answerTo(query, names), asker.port, asker.address))
  await new Promise<void>((bound) => socket.bind(0, '127.0.0.1', bound))
  const close = () => new Promise<void>((closed) => socket.close(() => closed()))
  return { port: socket.address().port, names, close }
}

/** A reply of RFC 1035 to the query's one question; what else the query says (EDNS) is left out. */
function answerTo(query: Buffer, names: Map<string, string[]>): Buffer {
  const labels: string[] = []
  let at = HEADER_BYTES
  for (let length = query.readUInt8(at); length > 0; length = query.readUInt8(at)) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  const questionEnd = at + 5
  const known = names.get(labels.join('.').toLowerCase())
  const addresses = query.readUInt16BE(at + 1) === TYPE_A ? (known ?? []) : []
  const header = Buffer.alloc(HEADER_BYTES)
  query.copy(header, 0, 0, 2)
  // A response, recursion available; 3: there is no such name.
  header.writeUInt16BE(0x8180 | (known ? 0 : 3), 2)
  header.writeUInt16BE(1, 4)
  header.writeUInt16BE(addresses.length, 6)
  const records = addresses.map((address) => {
    // Name: that of the question. Type A, class IN, one second to live, four bytes.
    const record = Buffer.from([0xc0, HEADER_BYTES, 0, TYPE_A, 0, 1, 0, 0, 0, 1, 0, 4, 0, 0, 0, 0])
    Buffer.from(address.split('.').map(Number)).copy(record, 12)
    return record
  })
  return Buffer.concat([header, query.subarray(HEADER_BYTES, questionEnd), ...records])
}
