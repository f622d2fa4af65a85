import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { launch } from './product.ts'
import { REPOSITORY } from './source-files.ts'

const READER = join(REPOSITORY, 'test/support/read-clickhouse.ts')

/** Rows of the queries on the embedded ClickHouse of a data folder whose product is stopped. */
export async function askClickHouse<Row>(folder: string, queries: readonly string[]): Promise<Row[][]> {
  const scratch = mkdtempSync(join(tmpdir(), 'tallyline-ask-'))
  try {
    writeFileSync(join(scratch, 'queries'), JSON.stringify(queries))
    const reader = launch([READER, folder, join(scratch, 'queries'), join(scratch, 'answers')], {})
    const { code } = await reader.exited
    if (code !== 0) throw new Error(`ClickHouse of ${folder} was not read: ${reader.stderr()}`)
    return JSON.parse(readFileSync(join(scratch, 'answers'), 'utf8')) as Row[][]
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}
