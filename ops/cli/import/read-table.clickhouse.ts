import { symlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { openChdb } from '../../embedded/chdb.clickhouse.ts'
import type { ColumnType, Row, RowSource } from './row.ts'

export type TableFormat = 'csv' | 'parquet'
type Column = { name: string; type: string }

const READERS: Record<TableFormat, string> = { csv: 'CSVWithNames', parquet: 'Parquet' }
const ROWS_PER_PAGE = 5_000

/**
 * A table read by ClickHouse in this process. It is loaded once into a table of its own, every value as the text that
 * stands for it, with the row's number: a file has no index, and a resumed import begins in its middle. `mostRows`
 * stops earlier. An empty value of a CSV is none.
 */
export async function openTable(
  file: string,
  format: TableFormat,
  scratch: string,
  mostRows?: number,
): Promise<RowSource> {
  const store = await openChdb(join(scratch, 'rows'), 1)
  try {
    // Under a name of ours: in the file's own a star or a brace would stand for other files.
    const path = join(resolve(scratch), `input.${format}`)
    symlinkSync(resolve(file), path)
    const columns = await store.query<Column>(`DESCRIBE file('${quoted(path)}', '${READERS[format]}')`)
    await load(store, columns, path, format, mostRows)
    const [counted] = await store.query<{ rows: string }>('SELECT toString(count()) AS rows FROM rows')
    return {
      columns: columns.map(({ name, type }) => ({ name, type: columnType(type) })),
      totalRows: Number(counted?.rows ?? 0),
      rows: (afterRow) => pages(store, columns, afterRow),
      close: () => store.close(),
    }
  } catch (error) {
    await store.close()
    throw error
  }
}

/** One thread reads the rows in their order. */
async function load(
  store: ClickHouseStore,
  columns: readonly Column[],
  path: string,
  format: TableFormat,
  mostRows: number | undefined,
): Promise<void> {
  const structure = columns.map(({ name }) => `${identifier(name)} String`).join(', ')
  const source = `file('${quoted(path)}', '${READERS[format]}'${format === 'csv' ? `, '${quoted(structure)}'` : ''})`
  const cells = columns.map((column) => (format === 'csv' ? `nullIf(${identifier(column.name)}, '')` : asText(column)))
  await store.command('CREATE TABLE rows (row UInt64, cells Array(Nullable(String))) ENGINE = MergeTree ORDER BY row')
  await store.command(
    `INSERT INTO rows SELECT rowNumberInAllBlocks() + 1, [${cells.join(', ')}] FROM ${source}
     ${mostRows === undefined ? '' : `LIMIT ${mostRows}`}
     SETTINGS max_threads = 1, max_insert_threads = 1, input_format_parquet_preserve_order = 1,
       output_format_decimal_trailing_zeros = 1`,
  )
}

function asText({ name, type }: Column): string {
  const column = identifier(name)
  return /^(Nullable\()?DateTime/.test(type) ? `toString(toTimeZone(${column}, 'UTC'))` : `toString(${column})`
}

async function* pages(store: ClickHouseStore, columns: readonly Column[], afterRow: number): AsyncIterable<Row> {
  for (let after = afterRow; ; after += ROWS_PER_PAGE) {
    const page = await store.query<{ cells: (string | null)[] }>(
      'SELECT cells FROM rows WHERE row > {after:UInt64} AND row <= {until:UInt64} ORDER BY row',
      { after, until: after + ROWS_PER_PAGE },
    )
    for (const [index, { cells }] of page.entries()) {
      yield { row: after + index + 1, cells: Object.fromEntries(columns.map(({ name }, at) => [name, cells[at]])) }
    }
    if (page.length < ROWS_PER_PAGE) return
  }
}

function columnType(type: string): ColumnType {
  const bare = type.replace(/^(?:LowCardinality\(|Nullable\()+/, '')
  if (/^(U?Int|Float|BFloat|Decimal)/.test(bare)) return 'number'
  return bare.startsWith('Bool') ? 'boolean' : 'string'
}

function identifier(name: string): string {
  return `\`${name.replace(/[\\`]/g, '\\$&')}\``
}

function quoted(text: string): string {
  return text.replace(/[\\']/g, '\\$&')
}
