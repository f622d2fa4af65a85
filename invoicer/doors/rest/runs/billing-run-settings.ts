import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { changeSettings } from '../../../billing/review/change-settings.ts'
import { AnomalyRules, APPROVALS, DEFAULT_SETTINGS } from '../../../billing/review/rules.ts'
import { findSettings, type StoredSettings } from '../../../billing/review/settings.postgres.ts'
import { type DoorDeps, Instant, instantTextOrNull, Nullable, strict } from '../shapes.ts'

const Approval = Type.Enum([...APPROVALS], {
  description:
    'Which runs wait for an approval before they bill anything; those of the schedule too. One that drafts nothing waits for none.',
})
const example = { ...DEFAULT_SETTINGS, approval: 'on_anomaly' as const }

const SettingsAnswer = Type.Object(
  {
    approval: Approval,
    rules: AnomalyRules,
    updated_at: Nullable(Type.String({ ...Instant, description: 'Null: nothing was set, these are the defaults.' })),
  },
  { examples: [{ ...example, updated_at: '2023-11-16T09:30:00.000Z' }] },
)

/** Which billing runs wait for somebody, and what is an anomaly. */
export function billingRunSettingsDoor(app: App, deps: DoorDeps): void {
  const tags = ['billing runs']
  const url = '/api/v1/billing-run-settings'
  app.get(
    url,
    {
      config: { permission: 'billing:runs:read' },
      schema: {
        tags,
        summary: 'Read which billing runs need an approval, and what is an anomaly',
        response: { 200: SettingsAnswer },
      },
    },
    async ({ caller }) => answer(await deps.transact(caller.tenantId, findSettings)),
  )
  app.patch(
    url,
    {
      config: { permission: 'billing:runs:approve' },
      schema: {
        tags,
        summary: 'Set which billing runs need an approval, and what is an anomaly',
        description:
          'What is not given stays. It holds for runs that come to their review from now on: one that waits for its ' +
          'approval goes on waiting.',
        body: Type.Object(
          { approval: Type.Optional(Approval), rules: Type.Optional(Type.Partial(AnomalyRules, strict)) },
          { ...strict, examples: [{ approval: 'on_anomaly', rules: { first_invoice_above: '5000.00' } }] },
        ),
        response: { 200: SettingsAnswer },
      },
    },
    async ({ caller, body }) =>
      answer(await deps.transact(caller.tenantId, (tx) => changeSettings(tx, body, caller.keyId, deps))),
  )
}

function answer({ approval, rules, updatedAtMs }: StoredSettings): Static<typeof SettingsAnswer> {
  return { approval, rules, updated_at: instantTextOrNull(updatedAtMs) }
}
