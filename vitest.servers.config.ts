import { defineConfig } from 'vitest/config'
import { totalsReporter } from './test/support/totals.ts'

const wholeRun = process.env.npm_lifecycle_event === 'test:servers' ? 'servers' : undefined

/** The suites that need real servers. What is missing fails, named. */
export default defineConfig({
  test: {
    include: ['test/**/*.servers.test.ts'],
    globalSetup: ['test/support/postgres-global.ts'],
    reporters: ['default', totalsReporter(import.meta.dirname, wholeRun)],
    testTimeout: 180_000,
    hookTimeout: 180_000,
    pool: 'forks',
    maxWorkers: 2,
  },
})
