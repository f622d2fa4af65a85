import { expect, test } from 'vitest'
import { planHash } from '../../../../invoicer/agreements/plans/plan-hash.ts'
import { parseCatalogueFile, printCatalogueFile } from '../../../../ops/cli/plan/catalogue-file.ts'
import { differenceOf } from '../../../../ops/cli/plan/difference.ts'

const file = (quantity: string, kind = '') => `plans:
  - key: team
    name: Team
    currency: USD
    interval: month
    fees: in_advance
${kind}    charges:
      - key: seats
        name: Seats
        price: { model: per_unit, unit_amount: "10.00" }
        quantity: ${quantity}
`
const only = (yaml: string) => parseCatalogueFile(yaml).plans[0]!
const printed = (plan: ReturnType<typeof only>) => printCatalogueFile({ products: [], plans: [plan], coupons: [] })

test('a plan file says between what the seats of a charge lie, digit by digit, and what is an add-on', () => {
  const seats = only(file('{ default: 1.10, max: 12345678901234567890.1 }', '    kind: add_on\n'))
  expect(seats.content).toMatchObject({
    kind: 'add_on',
    charges: [{ meter: null, quantity: { default: '1.10', max: '12345678901234567890.1' } }],
  })
  expect(parseCatalogueFile(printed(seats)).plans).toEqual([seats])
  expect(printed(only(file('{ default: "1" }')))).not.toContain('kind')
  expect(only(file('{ default: "1" }', '    kind: base\n'))).toEqual(only(file('{ default: "1" }')))
  expect(() => parseCatalogueFile(file('{ least: 1 }'))).toThrow('quantity must have required')
})

test('its seats are part of a version, however they are spelled; its kind is the same in all of them', () => {
  const [before, same, after] = [
    only(file('{ default: "1" }')),
    only(file('{ default: 1.0 }')),
    only(file('{ default: 2 }')),
  ]
  const live = {
    content: before.content,
    version: 1,
    effectiveFromMs: null,
    entitlements: new Map(),
    listing: { product: null, archived: false },
  }
  const dates = { nowMs: 0, effectiveFromMs: undefined }
  expect(differenceOf(same, live, dates)).toMatchObject({ version: null, lines: [], refused: [] })
  expect(differenceOf(after, live, dates)).toMatchObject({
    version: 2,
    lines: ['- charges[seats].quantity.default: "1"', '+ charges[seats].quantity.default: "2"'],
    refused: [],
  })
  const addOn = only(file('{ default: "1" }', '    kind: add_on\n'))
  expect(differenceOf(addOn, live, dates).refused).toEqual([expect.stringContaining('kind: ')])
  const hashes = [before, after, addOn].map(({ content }) => planHash(content))
  expect(new Set(hashes).size).toBe(3)
})
