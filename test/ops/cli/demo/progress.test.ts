import { expect, test } from 'vitest'
import { createReport } from '../../../../ops/cli/demo/progress.ts'

function told(isTty: boolean): string {
  let text = ''
  const report = createReport({ write: (more) => (text += more) }, isTty)
  report.step('posting 8 events')
  for (const doneCount of [1, 2, 3, 8]) report.progress(doneCount, 8)
  return text
}

test('in a terminal a bar redraws itself and ends its line', () => {
  const redrawn = told(true).split('\r')
  expect(redrawn[2]).toBe('[########........................] 2 of 8')
  expect(redrawn.at(-1)).toBe(`[${'#'.repeat(32)}] 8 of 8\n`)
})

test('elsewhere there is a line for each quarter reached and no control character', () => {
  expect(told(false)).toBe('demo: posting 8 events\ndemo: 2 of 8\ndemo: 8 of 8\n')
})
