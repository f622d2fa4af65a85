import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { REPOSITORY } from '../support/source-files.ts'

const EXAMPLES = join(REPOSITORY, 'sdk/typescript/examples')
/** Which runs them, and says what each shows. */
const RUN_BY = join(REPOSITORY, 'test/sdk/product.test.ts')

/** Issue 6: examples that run in CI against `npm start`. One that is added and not run would rot unseen. */
test('every example is run against the product', () => {
  const runs = readFileSync(RUN_BY, 'utf8')
  const isRun = (name: string) => runs.includes(`example('${name}'`)
  const names = readdirSync(EXAMPLES)
  expect(names).toContain('emit.ts')
  expect(names.filter((name) => !isRun(name))).toEqual([])
  expect(isRun('planted.ts')).toBe(false)
})
