import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import avsc from 'avsc'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openChdb } from '../../../ops/embedded/chdb.clickhouse.ts'
import { avroStructure } from '../../../ops/stores/avro-structure.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { encodeLogRows } from '../../../schemas/event/usage-batch.avro.ts'

const folder = mkdtempSync(join(tmpdir(), 'tallyline-avro-'))
let store: ClickHouseStore
beforeAll(async () => {
  store = await openChdb(join(folder, 'clickhouse'), 1)
})
afterAll(async () => {
  await store.close()
  rmSync(folder, { recursive: true, force: true })
})

/** An empty container file of rows with one field of a type. */
function fileOf(type: unknown): Buffer {
  const schema = { type: 'record', name: 'Row', fields: [{ name: 'value', type }] }
  const head = { 'avro.schema': Buffer.from(JSON.stringify(schema)), 'avro.codec': Buffer.from('null') }
  const map = avsc.Type.forSchema({ type: 'map', values: 'bytes' }).toBuffer(head)
  return Buffer.concat([Buffer.from('Obj\x01'), map, Buffer.alloc(16)])
}

/** Types as ClickHouse infers them, on one line and without the quotes of names. */
async function inferred(file: Buffer): Promise<string> {
  const path = join(folder, 'rows.avro')
  writeFileSync(path, file)
  const sql = `DESCRIBE file('${path}', 'Avro')`
  const rows = await store.query<{ name: string; type: string }>(sql)
  return rows.map(({ name, type }) => `${name} ${type.replaceAll(/\(\s+/g, '(').replaceAll(/\s+/g, ' ')}`).join(', ')
}

const record = (name: string) => ({
  type: 'record',
  name,
  fields: [
    { name: 'a', type: 'int' },
    { name: 'b', type: ['null', 'string'] },
  ],
})

test.each<{ type: unknown }>(
  [
    'int',
    'long',
    'float',
    'double',
    'boolean',
    'string',
    'bytes',
    ['null', 'long'],
    ['string', 'null'],
    ['null', { type: 'array', items: 'int' }],
    { type: 'long', logicalType: 'timestamp-millis' },
    { type: 'long', logicalType: 'timestamp-micros' },
    { type: 'int', logicalType: 'date' },
    { type: 'string', logicalType: 'uuid' },
    { type: 'fixed', name: 'Six', size: 6 },
    { type: 'array', items: record('Item') },
    { type: 'map', values: ['null', 'double'] },
    record('Inner'),
  ].map((type) => ({ type })),
)('the structure of $type is the one ClickHouse infers', async ({ type }) => {
  const file = fileOf(type)
  expect(avroStructure(file)?.replaceAll('`', '')).toBe(await inferred(file))
})

test('and so is that of log rows', async () => {
  const file = encodeLogRows([])
  expect(avroStructure(file)?.replaceAll('`', '')).toBe(await inferred(file))
})

test('of what is no Avro file there is none', () => {
  for (const file of [
    Buffer.alloc(0),
    Buffer.from('Obj'),
    Buffer.from('Obj\x01garbage garbage'),
    fileOf(['int', 'string']),
    fileOf('Nothing'),
  ])
    expect(avroStructure(file)).toBeUndefined()
})
