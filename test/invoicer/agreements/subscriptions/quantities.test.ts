import { describe, expect, test } from 'vitest'
import { withAddOns } from '../../../../invoicer/agreements/subscriptions/add-ons.ts'
import {
  faultOfQuantities,
  isLess,
  pricedFor,
  quantitiesOf,
  withQuantities,
} from '../../../../invoicer/agreements/subscriptions/quantities.ts'
import { isDowngrade } from '../../../../invoicer/billing/is-downgrade.ts'
import { storedPlan } from '../../support/world.ts'

const licences = { seats: { default: '1.0', max: '9' }, desks: { default: '0' } }

describe('quantities of a phase (decision 0045)', () => {
  test('are those that are agreed, and otherwise the defaults', () => {
    const held = withQuantities({ licences }, { seats: '5', desks: '0', rooms: '7' })
    expect(held).toEqual({ licences, quantities: { seats: '5' } })
    expect(quantitiesOf(held)).toEqual({ seats: '5', desks: '0' })
    expect(withQuantities(held, { seats: '1' })).toEqual({ licences })
  })

  test('lie where the plan says', () => {
    expect(faultOfQuantities({ licences, quantities: { seats: '9' } })).toBeUndefined()
    expect(faultOfQuantities({ licences, quantities: { seats: '9.5' } })).toMatchObject({ key: 'seats' })
  })

  test('become less where some do and none become more', () => {
    expect(isLess({ seats: '5', desks: '2' }, { seats: '4', desks: '2' })).toBe(true)
    expect(isLess({ seats: '5' }, {})).toBe(true)
    expect(isLess({ seats: '5', desks: '2' }, { seats: '4', desks: '3' })).toBe(false)
    expect(isLess({ seats: '10' }, { seats: '9.5' })).toBe(true)
    expect(isLess({ seats: '5' }, { seats: '5.0' })).toBe(false)
  })

  test('may be of a charge that is called as what every object has', () => {
    const odd = { constructor: { default: '1', max: '5' }, toString: { default: '2' } }
    expect(quantitiesOf({ licences: odd })).toEqual({ constructor: '1', toString: '2' })
    expect(faultOfQuantities({ licences: odd, quantities: {} })).toBeUndefined()
    expect(withQuantities({ licences: odd }, {})).toEqual({ licences: odd })
    expect(withQuantities({ licences: odd }, { constructor: '4' })).toEqual({
      ...{ licences: odd, quantities: { constructor: '4' } },
    })
    expect(isLess({ constructor: '4' }, {})).toBe(true)
    const price = { model: 'per_unit' as const, unit_amount: '1' }
    const charges = [{ key: 'constructor', name: 'Odd', meter: null, price, quantity: { default: '1' } }]
    expect(pricedFor(storedPlan({ charges }), {}).charges[0]!.quantity).toEqual({ default: '1' })
  })

  test('decide which of two plans has the lower fee', () => {
    const planAt = (amount: string) => {
      const price = { model: 'per_unit' as const, unit_amount: amount }
      return storedPlan({ charges: [{ key: 'seats', name: 'Seats', meter: null, price, quantity: { default: '1' } }] })
    }
    const fee = storedPlan({
      charges: [{ key: 'base', name: 'Fee', meter: null, price: { model: 'flat', amount: '30' } }],
    })
    const team = planAt('10')
    expect([isDowngrade(team, fee), isDowngrade(pricedFor(team, { seats: '4' }), fee)]).toEqual([false, true])
    expect(isDowngrade(pricedFor(team, { seats: '4' }), pricedFor(planAt('9'), { seats: '5' }))).toBe(false)
  })

  test('add-ons stand in one order, and none are left out', () => {
    const named = (planId: string) => ({ planId, quantity: '1', planKey: planId, planVersion: 1, feesAhead: false })
    const phase = { addOns: [named('c')] }
    expect(withAddOns(phase, [named('b'), named('a')]).addOns.map(({ planId }) => planId)).toEqual(['a', 'b'])
    expect(withAddOns(phase, [])).toEqual({})
  })
})
