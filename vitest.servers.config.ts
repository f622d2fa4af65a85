import { defineConfig } from 'vitest/config'
import { totalsReporter } from './test/support/totals.ts'

const wholeRun = process.env.npm_lifecycle_event === 'test:servers' ? 'servers' : undefined

/** The suites that need real servers. What is missing fails, named. */
export default defineConfig({
  test: {
    include: ['test/**/*.servers.test.ts'],
    // That these suites would find planted bugs is shown each night: npm run test:deep (decision 0036).
    exclude: ['test/integrity/servers/*planted*.servers.test.ts'],
    env: {
      TALLYLINE_SEED: process.env.TALLYLINE_SEED || '20261121',
      // A broker that lives for a minute spends most of it on compiling itself: its quick compiler alone takes half.
      JDK_JAVA_OPTIONS: '-XX:TieredStopAtLevel=1',
    },
    setupFiles: ['test/support/one-seed.ts'],
    globalSetup: ['test/support/postgres-global.ts', 'test/support/compiled-global.ts'],
    reporters: ['default', totalsReporter(import.meta.dirname, wholeRun)],
    // Bounds against hanging, not promises: the machine may be slow, and other work may share it.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 60_000 } },
    pool: 'forks',
    maxWorkers: 2,
  },
})
