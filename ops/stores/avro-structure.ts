/** The columns of the rows in an Avro object container file, as ClickHouse infers them. */

type AvroType = string | AvroType[] | AvroObject
type AvroObject = {
  type: AvroType
  logicalType?: string
  name?: string
  fields?: { name: string; type: AvroType }[]
  items?: AvroType
  values?: AvroType
  symbols?: string[]
  size?: number
  precision?: number
  scale?: number
}

/**
 * `input()` must be told the structure that `file(…, 'Avro')` reads from the file itself. Undefined for a file whose
 * head cannot be read: ClickHouse then says what is wrong with it.
 */
export function avroStructure(file: Buffer): string | undefined {
  try {
    const schema = JSON.parse(schemaText(file)) as AvroObject
    return (schema.fields ?? []).map(({ name, type }) => `${quoted(name)} ${columnType(type)}`).join(', ')
  } catch {
    return undefined
  }
}

const LOGICAL: Record<string, (type: AvroObject) => string> = {
  'timestamp-millis': () => 'DateTime64(3)',
  'timestamp-micros': () => 'DateTime64(6)',
  date: () => 'Date32',
  uuid: () => 'UUID',
  decimal: ({ precision = 10, scale = 0 }) => `Decimal(${precision}, ${scale})`,
}
const PRIMITIVE: Record<string, string> = {
  int: 'Int32',
  long: 'Int64',
  float: 'Float32',
  double: 'Float64',
  boolean: 'Bool',
  string: 'String',
  bytes: 'String',
}

function columnType(type: AvroType): string {
  if (typeof type === 'string') return known(PRIMITIVE[type], type)
  if (Array.isArray(type)) return unionType(type)
  const logical = type.logicalType === undefined ? undefined : LOGICAL[type.logicalType]
  if (logical) return logical(type)
  if (type.type === 'record')
    return `Tuple(${(type.fields ?? []).map((field) => `${quoted(field.name)} ${columnType(field.type)}`).join(', ')})`
  if (type.type === 'array') return `Array(${columnType(type.items ?? '')})`
  if (type.type === 'map') return `Map(String, ${columnType(type.values ?? '')})`
  if (type.type === 'fixed') return `FixedString(${type.size ?? 0})`
  return columnType(type.type)
}

function unionType(types: AvroType[]): string {
  const [only, ...others] = types.filter((type) => type !== 'null')
  if (only === undefined || others.length > 0) throw new Error('a union of several types')
  const column = columnType(only)
  return types.length === 2 && !/^(?:Array|Map|Tuple)\(/.test(column) ? `Nullable(${column})` : column
}

function known(column: string | undefined, name: string): string {
  if (column === undefined) throw new Error(`no column for the Avro type ${name}`)
  return column
}

function quoted(name: string): string {
  return `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``
}

const MAGIC = Buffer.from('Obj\x01')

/** The value of `avro.schema` in the file's head: a map of bytes, in blocks of zigzag-counted entries. */
function schemaText(file: Buffer): string {
  if (!file.subarray(0, 4).equals(MAGIC)) throw new Error('no Avro file')
  let at = 4
  const long = () => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = file.readUInt8(at++)
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) break
    }
    return Number((value >> 1n) ^ -(value & 1n))
  }
  const bytes = () => {
    const length = long()
    at += length
    return file.subarray(at - length, at)
  }
  for (let count = long(); count !== 0; count = long()) {
    // A negative count is followed by the block's size, of no use here.
    if (count < 0) long()
    for (let entry = 0; entry < Math.abs(count); entry++) {
      const key = bytes().toString('utf8')
      const value = bytes()
      if (key === 'avro.schema') return value.toString('utf8')
    }
  }
  throw new Error('no schema')
}
