import type { Gateway } from './gateway.ts'

/** Paid by hand, by bank transfer or in cash: nothing is asked of anybody, and every charge succeeds. */
export const manualGateway: Gateway = {
  name: 'manual',
  charge: async ({ idempotencyKey }) => ({ outcome: 'succeeded', reference: `manual:${idempotencyKey}` }),
}
