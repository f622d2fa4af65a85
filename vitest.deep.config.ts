import { defineConfig } from 'vitest/config'
import { totalsReporter } from './test/support/totals.ts'

const MINUTE_MS = 60_000

/** Long runs: properties with many more cases, faults on servers at full length. For nights, not for every change. */
export default defineConfig({
  test: {
    include: [
      'test/{schemas,ingest,integrity}/**/*.test.ts',
      'test/invoicer/billing/**/*.test.ts',
      'test/contract/*.lmdb.test.ts',
    ],
    env: { TALLYLINE_TEST_LENGTHS: 'full', JDK_JAVA_OPTIONS: '-XX:TieredStopAtLevel=1' },
    setupFiles: ['test/support/many-runs.ts', 'test/support/one-seed.ts'],
    globalSetup: ['test/support/postgres-global.ts', 'test/support/compiled-global.ts'],
    reporters: ['default', totalsReporter(import.meta.dirname, undefined)],
    testTimeout: 30 * MINUTE_MS,
    hookTimeout: 5 * MINUTE_MS,
    expect: { poll: { timeout: 60_000 } },
    pool: 'forks',
    maxWorkers: 1,
  },
})
