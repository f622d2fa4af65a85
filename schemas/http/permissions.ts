/** Every permission, `billing:<resource>:<verb>`. A key holds a set of them; each route names the one it needs. */
export const PERMISSIONS = [
  'billing:tenants:create',
  'billing:keys:create',
  'billing:usage:create',
  'billing:usage:backfill',
  'billing:usage:read',
  'billing:usage:correct',
  'billing:event-types:create',
  'billing:event-types:read',
  'billing:kafka-inputs:create',
  'billing:kafka-inputs:read',
  'billing:meters:create',
  'billing:meters:read',
  'billing:dead-letters:read',
  'billing:dead-letters:replay',
  'billing:quotas:create',
  'billing:quotas:read',
  'billing:quotas:consume',
  'billing:webhooks:create',
  'billing:webhooks:read',
  'billing:customers:create',
  'billing:customers:read',
  'billing:customers:update',
  'billing:legal-entities:create',
  'billing:legal-entities:read',
  'billing:legal-entities:update',
  'billing:tax-rates:create',
  'billing:tax-rates:read',
  'billing:credits:create',
  'billing:credits:read',
  'billing:plans:create',
  'billing:plans:read',
  'billing:coupons:create',
  'billing:coupons:read',
  'billing:discounts:create',
  'billing:subscriptions:create',
  'billing:subscriptions:read',
  'billing:subscriptions:update',
  'billing:budgets:create',
  'billing:budgets:read',
  'billing:runs:create',
  'billing:runs:read',
  'billing:runs:approve',
  'billing:invoices:read',
  'billing:invoices:update',
  'billing:invoice-settings:update',
  'billing:invoice-items:create',
  'billing:credit-notes:create',
  'billing:history:read',
] as const
export type Permission = (typeof PERMISSIONS)[number]

/** Permissions that reach beyond one tenant: only operator keys may hold them. */
export const OPERATOR_PERMISSIONS: readonly Permission[] = ['billing:tenants:create', 'billing:keys:create']

/** What a key with a scope may hold: reading, and holding quota of its own, by operations that know of scopes. */
export const SCOPED_PERMISSIONS: readonly Permission[] = [
  'billing:usage:read',
  'billing:meters:read',
  'billing:quotas:read',
  'billing:quotas:consume',
]

export function isPermission(text: string): text is Permission {
  return (PERMISSIONS as readonly string[]).includes(text)
}
