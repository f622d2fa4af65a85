import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openChdb } from '../../ops/embedded/chdb.clickhouse.ts'

/**
 * `node --import tsx test/support/read-clickhouse.ts FOLDER QUERIES ANSWERS`: asks the embedded ClickHouse of a data
 * folder whose product is stopped. A process of its own, because chDB binds one folder a process.
 */
const [folder, queries, answers] = process.argv.slice(2)
if (!folder || !queries || !answers) throw new Error('Usage: read-clickhouse.ts FOLDER QUERIES ANSWERS')
const store = await openChdb(join(folder, 'clickhouse'), 1)
const results: unknown[][] = []
for (const sql of JSON.parse(readFileSync(queries, 'utf8')) as string[]) results.push(await store.query(sql))
await store.close()
writeFileSync(answers, JSON.stringify(results))
