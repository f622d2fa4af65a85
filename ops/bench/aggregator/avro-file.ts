import avsc from 'avsc'
import { schemaFile } from '../../../schemas/files.ts'

const SYNC = Buffer.from('bench-sync-mark!')
const longType = avsc.Type.forSchema('long')

/** An Avro object container file whose rows are events, one block: what a bare insert of the same events takes. */
export function avroFileOfEvents(encoded: readonly Buffer[]): Buffer {
  const block = Buffer.concat(encoded)
  return Buffer.concat([head(), longType.toBuffer(encoded.length), longType.toBuffer(block.length), block, SYNC])
}

function head(): Buffer {
  const batch = JSON.parse(schemaFile('event/usage-batch.avsc')) as { fields: { type: { items: unknown } }[] }
  const schema = JSON.stringify(batch.fields[1]?.type.items)
  const metadata = avsc.Type.forSchema({ type: 'map', values: 'bytes' })
  return Buffer.concat([Buffer.from('Obj\x01'), metadata.toBuffer({ 'avro.schema': Buffer.from(schema) }), SYNC])
}
