import { defineConfig } from 'vitest/config'
import { totalsReporter } from './test/support/totals.ts'

/** The suites that need real servers. What is missing fails, named. */
export default defineConfig({
  test: {
    include: ['test/**/*.servers.test.ts'],
    globalSetup: ['test/support/postgres-global.ts'],
    reporters: ['default', totalsReporter(import.meta.dirname, false)],
    testTimeout: 180_000,
    hookTimeout: 180_000,
    pool: 'forks',
    maxWorkers: 1,
  },
})
