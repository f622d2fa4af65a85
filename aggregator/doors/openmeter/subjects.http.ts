import type { Pool } from 'pg'
import { Type } from 'typebox'
import type { App } from '../../../schemas/http/door.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { type Subject, upsertSubject } from './subjects.postgres.ts'
import { ulid } from './ulid.ts'

const NullableText = Type.Union([Type.String({ maxLength: 256 }), Type.Null()])
const Metadata = Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()])
const Given = {
  key: Type.String({ minLength: 1, maxLength: 256 }),
  displayName: Type.Optional(NullableText),
  metadata: Type.Optional(Metadata),
  stripeCustomerId: Type.Optional(NullableText),
}
const example = { key: 'customer-id', displayName: 'Customer Name', metadata: { hubspotId: '123456' } }
const Body = Type.Array(Type.Object(Given, { additionalProperties: false }), {
  maxItems: 1000,
  examples: [[example]],
})
const Answer = Type.Array(
  Type.Object({ id: Type.String(), ...Given, createdAt: Type.String(), updatedAt: Type.String() }),
  {
    examples: [
      [
        {
          id: '01G65Z755AFWAKHE12NY0CQ9FH',
          ...example,
          createdAt: '2026-11-20T12:00:00.000Z',
          updatedAt: '2026-11-20T12:00:00.000Z',
        },
      ],
    ],
  },
)

export function openmeterSubjectsDoor(app: App, deps: { pool: Pool; now: () => number }): void {
  app.post(
    '/openmeter/api/v1/subjects',
    {
      config: { permission: 'billing:customers:create' },
      schema: {
        summary: 'Upsert subjects as OpenMeter does: names for CSV. Usage needs none, and customers are not made here.',
        body: Body,
        response: { 200: Answer },
      },
    },
    async ({ caller, body }) => {
      const nowMs = deps.now()
      const subjects = await withTenant(deps.pool, caller.tenantId, async (tx) => {
        const stored: Subject[] = []
        for (const one of body) stored.push(...(await upsertSubject(tx, one, ulid(nowMs), new Date(nowMs))))
        return stored
      })
      return subjects.map(({ createdAt, updatedAt, displayName, metadata, stripeCustomerId, ...subject }) => ({
        ...subject,
        ...(displayName === null ? {} : { displayName }),
        ...(metadata === null ? {} : { metadata }),
        ...(stripeCustomerId === null ? {} : { stripeCustomerId }),
        createdAt: createdAt.toISOString(),
        updatedAt: updatedAt.toISOString(),
      }))
    },
  )
}
