import { defineConfig } from 'vitest/config'
import { totalsReporter } from './test/support/totals.ts'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // These need servers: npm run test:servers.
    exclude: ['test/**/*.servers.test.ts'],
    // A change lands by its tests, not by luck: every run looks at the same cases, and test:deep at others each night.
    env: { TALLYLINE_SEED: process.env.TALLYLINE_SEED || '20261121' },
    setupFiles: ['test/support/one-seed.ts'],
    globalSetup: ['test/support/postgres-global.ts', 'test/support/compiled-global.ts'],
    // The last reporter has the last word: `N passed, N failed`.
    reporters: [
      'default',
      totalsReporter(import.meta.dirname, process.env.npm_lifecycle_event === 'test' ? 'embedded' : undefined),
    ],
    // Bounds against hanging, not promises: the machine may be slow, and other work may share it.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 60_000 } },
    // One process a file: chDB binds one data folder a process.
    pool: 'forks',
    maxWorkers: 2,
  },
})
