import { expect, test } from 'vitest'
import { planHash } from '../../../../invoicer/agreements/plans/plan-hash.ts'
import { parseCatalogueFile, printCatalogueFile } from '../../../../ops/cli/plan/catalogue-file.ts'
import { differenceOf } from '../../../../ops/cli/plan/difference.ts'

const file = (attributes = '') => `plans:
  - key: visits
    name: Visits
    currency: USD
    interval: month
    fees: in_arrears
    charges:
      - key: visit
        name: Visit
        meter: visits
        price: { model: per_unit, unit_amount: "12.50" }
${attributes}`
const listed = file('        attributes: [payer, procedure.code]\n')
const only = (yaml: string) => parseCatalogueFile(yaml).plans[0]!
const printed = (plan: ReturnType<typeof only>) => printCatalogueFile({ products: [], plans: [plan], coupons: [] })

test('a plan file says which properties of events a line lists (HC-13), and says nothing where it lists none', () => {
  expect(only(listed).content.charges[0]).toMatchObject({ attributes: ['payer', 'procedure.code'] })
  expect(parseCatalogueFile(printed(only(listed))).plans).toEqual([only(listed)])
  expect(printed(only(file()))).not.toContain('attributes')
  expect(() => parseCatalogueFile(file('        attributes: []\n'))).toThrow('attributes')
})

test('what a line lists is part of a version: to change it makes a new one, and plans without have the hash of before', () => {
  const [before, after] = [only(file()), only(listed)]
  const live = {
    content: before.content,
    version: 1,
    effectiveFromMs: null,
    entitlements: new Map(),
    listing: { product: null, archived: false },
  }
  const dates = { nowMs: 0, effectiveFromMs: undefined }
  expect(differenceOf(after, live, dates)).toMatchObject({
    version: 2,
    lines: ['+ charges[visit].attributes[0]: "payer"', '+ charges[visit].attributes[1]: "procedure.code"'],
    refused: [],
  })
  const [charge] = before.content.charges
  expect(planHash({ ...before.content, charges: [{ ...charge!, attributes: [] }] })).toBe(planHash(before.content))
  expect(planHash(after.content)).not.toBe(planHash(before.content))
})
