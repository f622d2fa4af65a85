import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The package's root: sources and build lie at different depths below it. */
export function packageRoot(from: string = import.meta.dirname): string {
  for (let folder = from; folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder
  }
  throw new Error(`No package.json above ${from}: the installation is incomplete`)
}

/** The numbered migrations of one store, in order: `schemas/<store>/NNNN-name.sql`. */
export function migrationFiles(store: 'postgres' | 'clickhouse'): { name: string; sql: string }[] {
  const folder = join(packageRoot(), 'schemas', store)
  return readdirSync(folder)
    .filter((name) => /^\d{4}-.*\.sql$/.test(name))
    .sort()
    .map((name) => ({ name, sql: readFileSync(join(folder, name), 'utf8') }))
}
