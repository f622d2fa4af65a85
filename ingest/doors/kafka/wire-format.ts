/** What stands before a value that a schema registry's client wrote: a zero, then the schema's id in four bytes. */
const MAGIC = 0
const FRAME_BYTES = 5

/** So much JSON of Avro records is made and taken at once; what comes behind it follows. */
export const MOST_ANSWER_LENGTH = 4 * 1024 ** 2

/** Takes the framing off; undefined where there is none. */
export function unframe(value: Buffer): { schemaId: number; payload: Buffer } | undefined {
  if (value.length < FRAME_BYTES || value[0] !== MAGIC) return undefined
  return { schemaId: value.readUInt32BE(1), payload: value.subarray(FRAME_BYTES) }
}
