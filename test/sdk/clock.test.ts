import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { systemClock, within } from '../../sdk/typescript/src/clock.ts'

/** setTimeout makes one millisecond of whatever it cannot count to. */
test.each([Number.POSITIVE_INFINITY, 2 ** 31, 1e15])('a wait of %s ms does not end at once', async (delayMs) => {
  let ran = false
  const cancel = systemClock.after(delayMs, () => {
    ran = true
  })
  await sleep(20)
  cancel()
  expect(ran).toBe(false)
  expect(await within(systemClock, delayMs, sleep(20))).toBe(true)
})
