import { defineConfig } from 'vitest/config'
import { totalsReporter } from './test/support/totals.ts'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // These need servers: npm run test:servers.
    exclude: ['test/**/*.servers.test.ts'],
    globalSetup: ['test/support/postgres-global.ts'],
    // The last reporter has the last word: `N passed, N failed`.
    reporters: [
      'default',
      totalsReporter(import.meta.dirname, process.env.npm_lifecycle_event === 'test' ? 'embedded' : undefined),
    ],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // One process a file: chDB binds one data folder a process.
    pool: 'forks',
    maxWorkers: 2,
  },
})
