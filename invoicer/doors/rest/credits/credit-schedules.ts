import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { CurrencyText, formatMoney, MoneyText } from '../../../../schemas/money.ts'
import { INTERVALS } from '../../../../schemas/time/period.ts'
import { createSchedule } from '../../../collection/credits/create-schedule.ts'
import { type CreditSchedule, EXPIRIES } from '../../../collection/credits/schedule.ts'
import { endSchedule, readSchedules } from '../../../collection/credits/stop-schedule.ts'
import {
  type DoorDeps,
  Id,
  IdParams,
  Instant,
  instantMs,
  instantText,
  instantTextOrNull,
  Key,
  listOf,
  Nullable,
  nextOf,
  pageMembers,
  pageOf,
  strict,
  Text,
} from '../shapes.ts'
import { newTerms, termsAnswer, termsFrom } from './credit-terms.ts'

const example = {
  id: '01890a5d-ac96-774b-bcce-b302099a8060',
  external_key: 'monthly-ann',
  name: 'Monthly credit',
  amount: '100.00',
  currency: 'USD',
  priority: 0,
  interval: 'month' as const,
  every: 1,
  timezone: 'UTC',
  start_at: '2023-12-01T00:00:00.000Z',
  until: null,
  grants: 12,
  expires: 'next_grant' as const,
  expires_after_days: null,
  scope: { meters: ['context_tokens'], charges: [] },
  rollover: { max_amount: '50.00', max_percent: null, expires_after_days: null, times: 1 },
  next_at: '2024-01-01T00:00:00.000Z',
  stopped_at: null,
  created_at: '2023-12-01T00:00:00.000Z',
}

const expires = Type.Enum(EXPIRIES, {
  description: 'When each grant expires: when the next one comes, after a number of days, or never.',
})
const expiresAfterDays = Type.Integer({ minimum: 1, maximum: 36_500 })
const every = Type.Integer({ minimum: 1, maximum: 366 })

const NewSchedule = Type.Object(
  {
    external_key: Type.String({
      ...Key,
      description: 'Unique among schedules of the customer: the same again answers the stored one.',
    }),
    amount: Type.String({ ...MoneyText, description: "Of each grant; above 0, in the customer's currency." }),
    name: Type.Optional(Nullable(Text(256))),
    priority: Type.Optional(Type.Integer({ minimum: 0, maximum: 1000, description: 'As of credit; 0 unless told.' })),
    interval: Type.Enum(INTERVALS, { description: 'A grant comes every `every` of these.' }),
    every: Type.Optional(every),
    start_at: Type.Optional(
      Nullable(
        Type.String({
          ...Instant,
          description:
            "The first grant, from which all others are counted in the customer's zone; at once unless told, and never " +
            'in the past. Seconds are dropped.',
        }),
      ),
    ),
    until: Type.Optional(Nullable(Type.String({ ...Instant, description: 'None comes from then on.' }))),
    grants: Type.Optional(Nullable(Type.Integer({ minimum: 1, maximum: 10_000, description: 'So many come.' }))),
    expires,
    expires_after_days: Type.Optional(Nullable(expiresAfterDays)),
    ...newTerms,
  },
  {
    ...strict,
    examples: [{ external_key: 'monthly-ann', amount: '100.00', interval: 'month', expires: 'next_grant', grants: 12 }],
  },
)

const ScheduleAnswer = Type.Object(
  {
    id: Id,
    external_key: Type.String(),
    name: Nullable(Type.String()),
    amount: MoneyText,
    currency: CurrencyText,
    priority: Type.Integer(),
    interval: Type.Enum(INTERVALS),
    every,
    timezone: Type.String(),
    start_at: Instant,
    until: Nullable(Instant),
    grants: Nullable(Type.Integer()),
    expires,
    expires_after_days: Nullable(expiresAfterDays),
    ...termsAnswer,
    next_at: Nullable(Type.String({ ...Instant, description: 'When the next grant comes; null when none does.' })),
    stopped_at: Nullable(Instant),
    created_at: Instant,
  },
  { examples: [example] },
)

const tags = ['credits']
const url = '/api/v1/customers/:id/credit-schedules'

/** Prepaid credit that is given again and again. */
export function creditSchedulesDoor(app: App, deps: DoorDeps): void {
  app.post(
    url,
    {
      config: { permission: 'billing:credits:create' },
      schema: {
        tags,
        summary: 'Give a customer prepaid credit again and again; the same again answers the stored schedule',
        description:
          'Each grant is given once, within about a minute, and at the latest before an invoice of the customer is issued. ' +
          'What was missed comes with its own times.',
        params: IdParams,
        body: NewSchedule,
        response: { 200: ScheduleAnswer, 201: ScheduleAnswer },
      },
    },
    async (request, reply) => {
      const { body, params } = request
      const at = (text: string | null | undefined, path: string) => (text == null ? null : instantMs(text, path))
      const input = {
        ...{ externalKey: body.external_key, customer: params.id, name: body.name ?? null, amount: body.amount },
        ...{ priority: body.priority ?? 0, cadence: { interval: body.interval, every: body.every ?? 1 } },
        ...{ startMs: at(body.start_at, 'start_at'), untilMs: at(body.until, 'until'), grants: body.grants ?? null },
        ...{ expires: body.expires, expiresAfterDays: body.expires_after_days ?? null },
        ...termsFrom(body),
      }
      const { schedule, created } = await deps.transact(request.caller.tenantId, (tx) =>
        createSchedule(tx, input, deps),
      )
      return reply.code(created ? 201 : 200).send(answer(schedule))
    },
  )
  mountReadAndStop(app, deps)
}

function mountReadAndStop(app: App, deps: DoorDeps): void {
  app.get(
    url,
    {
      config: { permission: 'billing:credits:read' },
      schema: {
        tags,
        summary: "List a customer's schedules of prepaid credit",
        params: IdParams,
        querystring: Type.Object(pageMembers, strict),
        response: { 200: listOf('schedules', ScheduleAnswer, example) },
      },
    },
    async ({ caller, params, query }) => {
      const page = pageOf(query)
      const schedules = await deps.transact(caller.tenantId, (tx) => readSchedules(tx, params.id, page))
      return { schedules: schedules.map(answer), next: nextOf(schedules, page) }
    },
  )
  app.delete(
    `${url}/:schedule`,
    {
      config: { permission: 'billing:credits:create' },
      schema: {
        tags,
        summary: 'Stop a schedule of prepaid credit, by id or external key; what it gave stays',
        params: Type.Object({ id: Key, schedule: Key }, strict),
        response: { 200: ScheduleAnswer },
      },
    },
    async ({ caller, params }) => {
      const input = { customer: params.id, schedule: params.schedule }
      return answer(await deps.transact(caller.tenantId, (tx) => endSchedule(tx, input, deps)))
    },
  )
}

function answer(schedule: CreditSchedule): Static<typeof ScheduleAnswer> {
  const { cadence, currency } = schedule
  return {
    id: schedule.id,
    external_key: schedule.externalKey,
    name: schedule.name,
    amount: formatMoney(schedule.amountMinor, currency),
    currency,
    priority: schedule.priority,
    interval: cadence.interval,
    every: cadence.every,
    timezone: schedule.zone,
    start_at: instantText(schedule.startMs),
    until: instantTextOrNull(schedule.untilMs),
    grants: schedule.grants,
    expires: schedule.expires,
    expires_after_days: schedule.expiresAfterDays,
    scope: schedule.scope,
    rollover: schedule.rollover,
    next_at: instantTextOrNull(schedule.next?.atMs ?? null),
    stopped_at: instantTextOrNull(schedule.stoppedAtMs),
    created_at: instantText(schedule.createdAtMs),
  }
}
