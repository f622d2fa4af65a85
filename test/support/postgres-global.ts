import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import type { TestProject } from 'vitest/node'
import { startEmbeddedPostgres } from '../../ops/embedded/postgres.ts'
import { migratePostgres } from '../../ops/migrate/migrate.postgres.ts'

declare module 'vitest' {
  interface ProvidedContext {
    postgresUrl: string
  }
}

/** One real PostgreSQL for the whole run; each test file clones the migrated template. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = mkdtempSync(join('/tmp', 'tallyline-test-'))
  // Postgres' own user must be able to enter when the tests run as root.
  chmodSync(folder, 0o711)
  const server = await startEmbeddedPostgres(folder)
  const owner = new pg.Client({ connectionString: server.url })
  await owner.connect()
  await owner.query('CREATE DATABASE tallyline_test_template')
  await owner.end()
  await migratePostgres(server.url.replace(/\/postgres$/, '/tallyline_test_template'))
  project.provide('postgresUrl', server.url)
  return async () => {
    await server.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}
