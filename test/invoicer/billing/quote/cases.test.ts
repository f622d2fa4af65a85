import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { quoteLine } from '../../../../invoicer/billing/quote/quote.ts'

/** A case as it is quoted, and members that its answer has; `source` says who published it or what it shows. */
type WorkedCase = { id: string; source: string; case: object; expect: object }

const FOLDER = join(import.meta.dirname, 'cases')
const cases = readdirSync(FOLDER)
  .filter((name) => name.endsWith('.jsonl'))
  .flatMap((name) => readFileSync(join(FOLDER, name), 'utf8').split('\n'))
  .filter((line) => line !== '')
  .map((line) => JSON.parse(line) as WorkedCase)

/** billing-cases.md as data, and cases of our own that show a rule. */
test.each(cases)('$id ($source): $case', ({ case: given, expect: expected }) => {
  expect(JSON.parse(quoteLine(JSON.stringify(given)))).toMatchObject(expected)
})

test('a wrong expectation would be found', () => {
  const [first] = cases.filter((one) => 'amount' in one.expect)
  expect(JSON.parse(quoteLine(JSON.stringify(first!.case)))).not.toMatchObject({ ...first!.expect, amount: '0.011' })
})
