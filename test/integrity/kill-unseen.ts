import { Socket } from 'node:net'
import type { Reach } from './steps.ts'

/** Kafka's number of the produce request. A request is its length in four bytes, then this number in two. */
const PRODUCE = 0

/**
 * Lets this process die when a produce request has been handed to the kernel whole. From then on the broker gets it,
 * whatever becomes of us, and its acknowledgement cannot have been seen: it is read in a later turn of the event loop.
 * The append's own promise would be too late, the moment before it too early; so here the socket is the port.
 */
export function dieUnseen(brokers: readonly string[], reach: Reach): void {
  const ports = new Set(brokers.map((broker) => Number(broker.split(':').at(-1))))
  const write = Socket.prototype.write
  Socket.prototype.write = function (this: Socket, chunk: string | Uint8Array, ...rest: unknown[]): boolean {
    const isProduce =
      Buffer.isBuffer(chunk) && ports.has(this.remotePort ?? 0) && chunk.length > 6 && chunk.readInt16BE(4) === PRODUCE
    // kafkajs hands in no callback.
    const written = isProduce ? [() => reach('append-unseen')] : []
    return Reflect.apply(write, this, [chunk, ...rest, ...written])
  }
}
