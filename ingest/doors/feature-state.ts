import { Type } from 'typebox'
import type { Feature } from '../entitlements/grants.ts'

/** A switch or a value as it is told. */
export const FeatureState = Type.Object({
  feature: Type.String(),
  granted_by: Type.String(),
  type: Type.String({ description: 'boolean or static' }),
  enabled: Type.Optional(Type.Boolean()),
  value: Type.Optional(Type.Unknown()),
})
export const EXAMPLE_FEATURE = { feature: 'exports', granted_by: 'plan', type: 'boolean', enabled: true }

export function featureState({ grantedBy, ...feature }: Feature) {
  return { ...feature, granted_by: grantedBy }
}
