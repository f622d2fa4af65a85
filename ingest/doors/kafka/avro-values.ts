import avsc from 'avsc'

/** Values in one record, those without bytes too: five bytes can claim two billion of them. */
export const MOST_VALUES = 20_000
/** A name is written for every value that has it. */
const MOST_NAME_LENGTH = 128
const MOST_DEPTH = 64
const MOST_DECIMAL_BYTES = 64
const MOST_SCALE = 100

/** A record's bytes while they are read. */
type Reading = { bytes: Buffer; at: number; values: number; depth: number }
type Read = (reading: Reading) => unknown

/** What is wrong with a record: `tooLarge` says that it claims more than may be read. An Error must be a class. */
export class AvroFault extends Error {
  readonly tooLarge: boolean
  constructor(message: string, tooLarge = false) {
    super(message)
    this.tooLarge = tooLarge
  }
}

/**
 * Reads values of a type as JSON has them: unions without wrappers, decimals and numbers beyond 2^53 as text, bytes as
 * base64. Every count is checked before it is believed. avsc only reads the schema: its decoder believes them, and what
 * that takes can end the process though it runs in a thread with a limit (decision 0013).
 */
export function createValueReader(schema: unknown): { type: avsc.Type; read: (bytes: Uint8Array) => unknown } {
  const type = avsc.Type.forSchema(schema as avsc.Schema, {
    wrapUnions: true,
    logicalTypes: { decimal: DecimalType as never },
  })
  const read = readerOf(type, new Map())
  return {
    type,
    read: (bytes) => {
      const reading = {
        bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
        at: 0,
        values: 0,
        depth: 0,
      }
      const value = read(reading)
      if (reading.at !== bytes.byteLength) throw new AvroFault(`has ${bytes.byteLength - reading.at} bytes too many`)
      return value
    },
  }
}

/** Only keeps what the schema says of a decimal. */
class DecimalType extends avsc.types.LogicalType {
  readonly scale: number
  constructor(schema: avsc.Schema, options?: unknown) {
    super(schema as never, options as never)
    this.scale = (schema as unknown as { scale?: number }).scale ?? 0
    if (!Number.isInteger(this.scale) || this.scale < 0 || this.scale > MOST_SCALE)
      throw new Error('has no valid scale')
  }
}

/** A type may hold itself: whoever is inside asks for the reader when it reads. */
function readerOf(type: avsc.Type, known: Map<avsc.Type, Read>): Read {
  const made = known.get(type)
  if (made) return made
  let inner: Read | undefined
  const read: Read = (reading) => {
    if (++reading.values > MOST_VALUES) throw new AvroFault(`has more than ${MOST_VALUES} values`, true)
    if (++reading.depth > MOST_DEPTH) throw new AvroFault(`is nested deeper than ${MOST_DEPTH} levels`, true)
    const value = inner?.(reading)
    reading.depth--
    return value
  }
  known.set(type, read)
  inner = innerReader(type, known)
  return read
}

function innerReader(type: avsc.Type, known: Map<avsc.Type, Read>): Read {
  const { types } = avsc
  if (type instanceof DecimalType) return decimalReader(type)
  if (type instanceof types.LogicalType) return readerOf(type.underlyingType, known)
  if (type instanceof types.RecordType) return recordReader(type, known)
  if (type instanceof types.ArrayType) return arrayReader(readerOf(type.itemsType, known))
  if (type instanceof types.MapType) return mapReader(readerOf(type.valuesType, known))
  if (type instanceof types.WrappedUnionType) {
    const branches = type.types.map((branch) => readerOf(branch, known))
    return (reading) => pick(branches, readLong(reading))(reading)
  }
  if (type instanceof types.EnumType) {
    const { symbols } = type
    checkNames(symbols)
    return (reading) => pick(symbols, readLong(reading))
  }
  if (type instanceof types.FixedType) return (reading) => take(reading, type.size).toString('base64')
  const read = PRIMITIVES[type.typeName]
  if (!read) throw new Error(`has the type ${type.typeName}, which is not read`)
  return read
}

const PRIMITIVES: Readonly<Record<string, Read>> = {
  null: () => null,
  boolean: (reading) => pick([false, true], BigInt(take(reading, 1)[0] ?? 2)),
  int: (reading) => numberOf(readLong(reading)),
  long: (reading) => numberOf(readLong(reading)),
  float: (reading) => finite(shortestFloat(take(reading, 4).readFloatLE())),
  double: (reading) => finite(take(reading, 8).readDoubleLE()),
  bytes: (reading) => take(reading, lengthOf(reading)).toString('base64'),
  string: readString,
}

function checkNames(names: readonly string[]): void {
  const long = names.find(({ length }) => length > MOST_NAME_LENGTH)
  if (long !== undefined) throw new Error(`has a name of more than ${MOST_NAME_LENGTH} characters`)
}

function recordReader(type: avsc.types.RecordType, known: Map<avsc.Type, Read>): Read {
  checkNames(type.fields.map(({ name }) => name))
  const fields = type.fields.map(({ name, type: of }) => ({ name, read: readerOf(of, known) }))
  return (reading) => Object.fromEntries(fields.map(({ name, read }) => [name, read(reading)]))
}

function arrayReader(item: Read): Read {
  return (reading) => {
    const items: unknown[] = []
    forEachInBlocks(reading, () => items.push(item(reading)))
    return items
  }
}

function mapReader(member: Read): Read {
  return (reading) => {
    const members: [string, unknown][] = []
    forEachInBlocks(reading, () => members.push([readString(reading), member(reading)]))
    return Object.fromEntries(members)
  }
}

/** Blocks of a count and so many items; a negative count stands before the block's size. A count of 0 ends them. */
function forEachInBlocks(reading: Reading, each: () => void): void {
  for (let count = readLong(reading); count !== 0n; count = readLong(reading)) {
    if (count < 0n) readLong(reading)
    const items = count < 0n ? -count : count
    if (items > MOST_VALUES) throw new AvroFault(`says that it has ${items} items in one place`, true)
    for (let item = 0n; item < items; item++) each()
  }
}

/** Zigzag, seven bits a byte, the lowest first. */
function readLong(reading: Reading): bigint {
  let value = 0n
  for (let shift = 0n; shift < 70n; shift += 7n) {
    const byte = take(reading, 1)[0] ?? 0
    value |= BigInt(byte & 0x7f) << shift
    if (byte < 0x80) return BigInt.asIntN(64, (value >> 1n) ^ -(value & 1n))
  }
  throw new AvroFault('has a number of more than ten bytes')
}

function lengthOf(reading: Reading): number {
  const length = readLong(reading)
  const left = reading.bytes.length - reading.at
  if (length < 0n || length > BigInt(left)) throw new AvroFault(`says that ${length} bytes follow, and ${left} do`)
  return Number(length)
}

function take(reading: Reading, length: number): Buffer {
  const start = reading.at
  if (start + length > reading.bytes.length) throw new AvroFault('ends before its schema does')
  reading.at = start + length
  return reading.bytes.subarray(start, reading.at)
}

const UTF_8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function readString(reading: Reading): string {
  const bytes = take(reading, lengthOf(reading))
  try {
    return UTF_8.decode(bytes)
  } catch {
    throw new AvroFault('has a text that is not UTF-8')
  }
}

function pick<T>(choices: readonly T[], index: bigint): T {
  const chosen = choices[Number(index)]
  if (chosen === undefined) throw new AvroFault(`says choice ${index} where there are ${choices.length}`)
  return chosen
}

function numberOf(value: bigint): number | string {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : String(value)
}

/** JSON has no other numbers; as text the event's schema refuses them, by name. */
function finite(value: number): number | string {
  return Number.isFinite(value) ? value : String(value)
}

/** 0.1 of a float is 0.10000000149011612 as a double: what its producer wrote is the shortest that is the same float. */
function shortestFloat(value: number): number {
  for (const digits of [6, 7, 8]) {
    const shorter = Number(value.toPrecision(digits))
    if (Math.fround(shorter) === value) return shorter
  }
  return value
}

/** Bytes or fixed: so many units of the last place, two's complement. */
function decimalReader({ scale, underlyingType }: DecimalType): Read {
  const fixed = underlyingType instanceof avsc.types.FixedType ? underlyingType.size : undefined
  return (reading) => {
    const bytes = take(reading, fixed ?? lengthOf(reading))
    if (bytes.length > MOST_DECIMAL_BYTES) throw new AvroFault(`has a decimal of more than ${MOST_DECIMAL_BYTES} bytes`)
    return decimalText(bytes, scale)
  }
}

/** 1234 units at a scale of 2 are 12.34. */
export function decimalText(bytes: Uint8Array, scale: number): string {
  const hex = Buffer.from(bytes).toString('hex')
  const units = hex === '' ? 0n : BigInt.asIntN(bytes.length * 8, BigInt(`0x${hex}`))
  const digits = String(units < 0n ? -units : units).padStart(scale + 1, '0')
  const whole = digits.slice(0, digits.length - scale)
  const text = scale === 0 ? whole : `${whole}.${digits.slice(-scale)}`
  return units < 0n ? `-${text}` : text
}
