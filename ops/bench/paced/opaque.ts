import type { Figure } from '../figure.ts'
import { bothSides } from './sides.ts'
import { PLAIN } from './traffic.ts'

/** Ids without a time: their shards never close, and each is rebuilt again and again with all that it ever held. */
export const opaque: Figure = async (input) => {
  const { mode, sizes } = input
  const figure = `opaque ids, ${sizes.opaquePerSecond.toLocaleString('en')} events/s for ${sizes.opaqueSeconds} s`
  const subject = { mode, figure, floor: 'the same load with UUIDv7', unit: 'event' } as const
  const order = { perSecond: sizes.opaquePerSecond, seconds: sizes.opaqueSeconds, history: 0 }
  const product = { ...order, name: 'opaque', shape: { ...PLAIN, ids: 'opaque' as const } }
  return bothSides(input, subject, product, { ...order, name: 'uuidv7', shape: PLAIN })
}
