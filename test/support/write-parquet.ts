import { runNode } from './run-node.ts'
import { REPOSITORY } from './source-files.ts'
import { tempFolder } from './temp-folder.ts'

/**
 * Writes a CSV as Parquet with the types given, by chDB in a process of its own: it binds one folder a process.
 * Small row groups, so that a reader meets several.
 */
export async function writeParquet(csv: string, parquet: string, types: Record<string, string>): Promise<void> {
  const folder = tempFolder()
  const structure = Object.entries(types).map(([name, type]) => `${name} ${type}`)
  const sql = `INSERT INTO FUNCTION file('${parquet}', 'Parquet')
    SELECT * FROM file('${csv}', 'CSVWithNames', '${structure.join(', ').replaceAll("'", "\\'")}')
    SETTINGS max_threads = 1, output_format_parquet_row_group_size = 3000`
  const program = `
    import { openChdb } from '${REPOSITORY}/ops/embedded/chdb.clickhouse.ts'
    const store = await openChdb('${folder.path}/clickhouse', 1)
    await store.command(${JSON.stringify(sql)})
    await store.close()`
  const { code, stderr } = await runNode(program)
  folder.remove()
  if (code !== 0) throw new Error(`Parquet was not written: ${stderr}`)
}
