import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The package's root: sources and build lie at different depths below it, files that are no code in the sources only. */
export function packageRoot(): string {
  for (let folder = import.meta.dirname; folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder
  }
  throw new Error(`No package.json above ${import.meta.dirname}: the installation is incomplete`)
}

/** The text of a file under schemas/, for example 'event/usage-batch.avsc'. */
export function schemaFile(path: string): string {
  return readFileSync(join(packageRoot(), 'schemas', path), 'utf8')
}

export type MigrationFile = { name: string; sql: string }

/**
 * The numbered migrations of one store, in order: `schemas/<store>/NNNN-name.sql`. Those in a folder below a store's are
 * named with that folder.
 */
export function migrationFiles(store: 'postgres' | 'clickhouse' | 'clickhouse/servers'): MigrationFile[] {
  const [, folder] = store.split('/')
  return readdirSync(join(packageRoot(), 'schemas', store))
    .filter((name) => /^\d{4}-.*\.sql$/.test(name))
    .sort()
    .map((name) => ({ name: folder ? `${folder}/${name}` : name, sql: schemaFile(`${store}/${name}`) }))
}
