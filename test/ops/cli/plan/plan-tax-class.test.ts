import { expect, test } from 'vitest'
import { planHash } from '../../../../invoicer/agreements/plans/plan-hash.ts'
import { parseCatalogueFile, printCatalogueFile } from '../../../../ops/cli/plan/catalogue-file.ts'
import { differenceOf } from '../../../../ops/cli/plan/difference.ts'

const file = (taxClass: string) => `plans:
  - key: school
    name: School
    currency: USD
    interval: month
    fees: in_arrears
    charges:
      - key: course
        name: Course
        price: { model: flat, amount: "10.00" }
${taxClass === '' ? '' : `        tax_class: ${taxClass}\n`}`
const only = (yaml: string) => parseCatalogueFile(yaml).plans[0]!

/** Issue 7, pricing as code: what is sold is part of a version, since its tax depends on it. */
test('a plan file says what is sold, which makes a version of its own', () => {
  const [before, after] = [only(file('')), only(file('training'))]
  expect(after.content.charges).toMatchObject([{ key: 'course', taxClass: 'training' }])
  expect(parseCatalogueFile(printCatalogueFile({ products: [], plans: [after], coupons: [] })).plans).toEqual([after])
  expect(planHash(after.content)).not.toBe(planHash(before.content))
  const listing = { product: null, archived: false }
  const live = { content: before.content, version: 1, effectiveFromMs: null, entitlements: new Map(), listing }
  const dates = { nowMs: 0, effectiveFromMs: undefined }
  expect(differenceOf(before, live, dates)).toMatchObject({ version: null, lines: [] })
  expect(differenceOf(after, live, dates)).toMatchObject({
    version: 2,
    lines: ['+ charges[course].tax_class: "training"'],
  })
  expect(() => parseCatalogueFile(file('No Class'))).toThrow('tax_class')
})
