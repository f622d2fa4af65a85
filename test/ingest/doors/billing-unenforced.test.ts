import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Metering, openMetering, type Tenant } from '../../support/metering.ts'
import { billingCalls, openClinic } from './billing-calls.ts'

/** HC-4: QUOTA_ENFORCEMENT=false records without refusing. */
let metering: Metering
let tenant: Tenant
beforeAll(async () => {
  metering = await openMetering(undefined, { enforceQuota: false })
  tenant = await openClinic(metering, 'b')
})
afterAll(() => metering.close())

const { use, limit } = billingCalls(() => tenant)

test('usage beyond a limit is recorded, and says so however often it is sent', async () => {
  await limit('20')
  expect((await use(15.5)).body).toMatchObject({ quota_remaining: 4.5, quota_exceeded: false })
  for (let again = 0; again < 2; again++)
    expect(await use(5, {}, 'k')).toMatchObject({ status: 202, body: { quota_remaining: 0, quota_exceeded: true } })
  await metering.settled()
  const range = 'from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z'
  const { body } = await tenant.call('GET', `/usage?meter=conversation_minutes&${range}`)
  expect(body.total).toEqual({ quantity: '20.5', events: 2 })
})
