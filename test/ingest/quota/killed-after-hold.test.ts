import { test, vi } from 'vitest'
import { expectHeldOnce } from './killed-after-hold.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 240_000 })

/** Issue 6: the embedded counters and holds survive kill -9. */
test('killed between a hold and its answer, the same key again holds nothing twice', () => expectHeldOnce({}))
