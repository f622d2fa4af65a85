import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idOrNull, type Page } from '../../transaction.ts'
import type { AgreedTerms } from '../contracts/terms.ts'
import type { AddOn } from './add-ons.ts'
import { feesDueMs } from './fees-due.ts'
import { goesOn, type SubscriptionState } from './lifecycle.ts'
import { isSameRecurrence, recurringLater } from './periods.ts'
import type { Phases } from './phases.ts'
import type { Licences } from './quantities.ts'
import type { NamedPhase, Recurrence, Subscription, Terms } from './subscription.ts'

type SubscriptionRow = {
  id: string
  external_key: string
  customer_id: string
  plan_id: string
  plan_key: string
  plan_version: number
  plan_fees_ahead: boolean
  plan_negotiated: boolean
  plan_periods: Recurrence
  plan_licences: Licences
  phases: NamedPhase[] | null
  state: SubscriptionState
  start_at: Date
  end_at: Date | null
  contract_end_at: Date | null
  fees_until: Date | null
  next_period_start: Date | null
  next_period_end: Date | null
  created_at: Date
  agreed_terms: AgreedTerms | null
}

/** As `billsFeesAhead` says it, of a row of `plans`. */
export const feesAhead = (plan: string) => `(${plan}.fees = 'in_advance' AND EXISTS (SELECT FROM plan_charges g
    WHERE g.tenant_id = ${plan}.tenant_id AND g.plan_id = ${plan}.id AND g.meter IS NULL))`
const periods = (plan: string) =>
  `jsonb_build_object('interval', ${plan}.period_interval, 'every', ${plan}.period_every, 'alignment', ${plan}.alignment)`
const licences = (plan: string) => `(SELECT coalesce(jsonb_object_agg(g.key, g.quantity), '{}') FROM plan_charges g
    WHERE g.tenant_id = ${plan}.tenant_id AND g.plan_id = ${plan}.id AND g.quantity IS NOT NULL)`
/** What rating needs to know of a row of `subscription_phases` beside what all have. */
export const phaseExtras = (phase: string) =>
  `jsonb_strip_nulls(jsonb_build_object('quantities', ${phase}.quantities, 'addOns', ${phase}.add_ons))`
/** What most phases have not: quantities that are asked for and agreed, and add-ons. */
const extras = `jsonb_strip_nulls(jsonb_build_object('quantities', f.quantities, 'licences', ${licences('q')}, 'addOns', (
    SELECT jsonb_agg(a.value || jsonb_build_object('planKey', o.key, 'planVersion', o.version, 'feesAhead', ${feesAhead('o')})
      ORDER BY a.ordinality)
    FROM jsonb_array_elements(f.add_ons) WITH ORDINALITY AS a
    JOIN plans o ON o.tenant_id = f.tenant_id AND o.id = (a.value ->> 'planId')::uuid)))`
const COLUMNS = `
  s.id, s.external_key, s.customer_id, s.plan_id, p.key AS plan_key, p.version AS plan_version, s.state, s.start_at, s.end_at,
  s.contract_end_at, s.fees_until, ${feesAhead('p')} AS plan_fees_ahead,
  p.base_plan_id IS NOT NULL AS plan_negotiated, s.agreed_terms,
  ${licences('p')} AS plan_licences, ${periods('p')} AS plan_periods, s.next_period_start, s.next_period_end, s.created_at,
  CASE WHEN s.revision > 0 THEN (
    SELECT jsonb_agg(jsonb_build_object('startMs', (extract(epoch FROM f.start_at) * 1000)::bigint, 'planId', f.plan_id,
                                        'planKey', q.key, 'planVersion', q.version, 'feesAhead', ${feesAhead('q')},
                                        'periods', ${periods('q')}, 'negotiated', q.base_plan_id IS NOT NULL,
                                        'kind', f.kind, 'bills', f.bills) || ${extras} ORDER BY f.start_at)
    FROM subscription_phases f JOIN plans q ON q.tenant_id = f.tenant_id AND q.id = f.plan_id
    WHERE f.tenant_id = s.tenant_id AND f.subscription_id = s.id AND f.revision = s.revision) END AS phases`
const SUBSCRIPTION = `
  SELECT ${COLUMNS} FROM subscriptions s JOIN plans p ON p.tenant_id = s.tenant_id AND p.id = s.plan_id`

/** False if the external key is taken; waits for a transaction that is about to take it. */
export async function insertSubscription(
  tx: TenantTransaction,
  subscription: Subscription,
  planId: string,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO subscriptions
       (tenant_id, id, external_key, customer_id, plan_id, state, start_at, end_at, next_period_start, next_period_end,
        created_at, revision, fees_due_at, agreed_terms)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
     ON CONFLICT (tenant_id, external_key) DO NOTHING`,
    [
      subscription.id,
      subscription.externalKey,
      subscription.customerId,
      planId,
      subscription.state,
      new Date(subscription.startMs),
      dateOrNull(subscription.endMs),
      dateOrNull(subscription.nextPeriod?.startMs),
      dateOrNull(subscription.nextPeriod?.endMs),
      new Date(subscription.createdAtMs),
      hasPhases(subscription) ? 1 : 0,
      dateOrNull(feesDueMs(subscription, false)),
      subscription.agreed === undefined ? null : JSON.stringify(subscription.agreed),
    ],
  )
  if (rowCount !== 1) return false
  if (hasPhases(subscription)) await insertPhases(tx, subscription)
  return true
}

/** Whether its plan alone does not say what it is: of most that does. */
function hasPhases({ phases: [first, ...later] }: Subscription): boolean {
  return later.length > 0 || first.quantities !== undefined || first.addOns !== undefined
}

/** At the revision that it has by now. */
async function insertPhases(tx: TenantTransaction, { id, phases }: Subscription): Promise<void> {
  const anchors = anchorsOf(phases)
  await tx.query(
    `INSERT INTO subscription_phases (tenant_id, subscription_id, revision, start_at, plan_id, kind, bills, anchor_at, quantities, add_ons)
     SELECT s.tenant_id, s.id, s.revision, n.*
     FROM subscriptions s, unnest($2::timestamptz[], $3::uuid[], $4::text[], $5::boolean[], $6::timestamptz[], $7::jsonb[],
       $8::jsonb[]) AS n WHERE s.id = $1`,
    [
      id,
      phases.map(({ startMs }) => new Date(startMs)),
      phases.map(({ planId }) => planId),
      phases.map(({ kind }) => kind),
      phases.map(({ bills }) => bills),
      anchors.map((ms) => new Date(ms)),
      phases.map(({ quantities }) => (quantities === undefined ? null : JSON.stringify(quantities))),
      phases.map(({ addOns }) => (addOns === undefined ? null : JSON.stringify(addOns.map(asStored)))),
    ],
  )
}

function asStored({ planId, quantity }: AddOn): AddOn {
  return { planId, quantity }
}

/** From when on the periods of each phase recur. */
function anchorsOf([first, ...later]: Phases<NamedPhase>): number[] {
  let [anchorMs, before] = [first.startMs, first]
  const others = later.map((phase) => {
    if (!isSameRecurrence(before.periods, phase.periods)) anchorMs = phase.startMs
    before = phase
    return anchorMs
  })
  return [first.startMs, ...others]
}

/** Until the end of the transaction nobody else subscribes the customer: what is looked for stays as it is seen. */
export async function lockSubscriptionsOf(tx: TenantTransaction, customerId: string): Promise<void> {
  await tx.query("SELECT pg_advisory_xact_lock(hashtextextended('subscriptions ' || $1::text, app_tenant()))", [
    customerId,
  ])
}

/** Another subscription of the customer that prices a meter at the same time as this one, as both are stored. */
export async function findOverlap(
  tx: TenantTransaction,
  { id, customerId }: Pick<Subscription, 'id' | 'customerId'>,
): Promise<{ externalKey: string; meter: string } | undefined> {
  const { rows } = await tx.query<{ external_key: string; meter: string }>(
    `WITH spans AS (
       SELECT s.id, s.external_key, u.plan_id, n.start_at, least(n.end_at, s.end_at) AS end_at
       FROM subscriptions s CROSS JOIN LATERAL (
         SELECT s.plan_id, s.start_at, NULL::jsonb AS add_ons,
           (SELECT min(f.start_at) FROM subscription_phases f
            WHERE f.tenant_id = s.tenant_id AND f.subscription_id = s.id AND f.revision = s.revision) AS end_at
         UNION ALL
         SELECT f.plan_id, f.start_at, f.add_ons, lead(f.start_at) OVER (ORDER BY f.start_at) FROM subscription_phases f
         WHERE f.tenant_id = s.tenant_id AND f.subscription_id = s.id AND f.revision = s.revision
       ) AS n CROSS JOIN LATERAL (
         SELECT n.plan_id
         UNION ALL SELECT (a.value ->> 'planId')::uuid FROM jsonb_array_elements(n.add_ons) AS a
       ) AS u
       WHERE s.customer_id = $1 AND coalesce(least(n.end_at, s.end_at) > n.start_at, true)
     )
     SELECT o.external_key, c.meter
     FROM spans m
     JOIN plan_charges mc ON mc.tenant_id = app_tenant() AND mc.plan_id = m.plan_id
     JOIN spans o ON o.id <> m.id AND coalesce(o.end_at > m.start_at, true) AND coalesce(m.end_at > o.start_at, true)
     JOIN plan_charges c ON c.tenant_id = app_tenant() AND c.plan_id = o.plan_id AND c.meter = mc.meter
     WHERE m.id = $2 ORDER BY o.id, o.start_at, c.position LIMIT 1`,
    [customerId, id],
  )
  return rows.map((row) => ({ externalKey: row.external_key, meter: row.meter }))[0]
}

/** An id wins over an external key that looks like one. */
export async function findSubscription(tx: TenantTransaction, idOrKey: string): Promise<Subscription | undefined> {
  const { rows } = await tx.query<SubscriptionRow>(
    `${SUBSCRIPTION} WHERE s.id = $1::uuid OR s.external_key = $2 ORDER BY s.id = $1::uuid DESC NULLS LAST LIMIT 1`,
    [idOrNull(idOrKey), idOrKey],
  )
  return rows.map(fromRow)[0]
}

/**
 * A subscription, the terms of its contract: those without a cancellation, and whether fees of its next period were billed
 * in advance.
 */
export type Changeable = { subscription: Subscription; contract: Terms; feesBilled: boolean }
type ChangeableRow = SubscriptionRow & {
  timezone: string
  fees_billed: boolean
}

/** Until the end of the transaction nobody else changes it or moves it on; a run that is about to is waited for. */
export async function lockSubscription(tx: TenantTransaction, idOrKey: string): Promise<Changeable | undefined> {
  const { rows } = await tx.query<{ id: string }>(
    `SELECT s.id FROM subscriptions s WHERE s.id = $1::uuid OR s.external_key = $2
     ORDER BY s.id = $1::uuid DESC NULLS LAST LIMIT 1 FOR NO KEY UPDATE OF s`,
    [idOrNull(idOrKey), idOrKey],
  )
  const [row] = rows
  // Its phases are other rows: a statement that waits for the lock would show those of before.
  return row && findChangeable(tx, row.id)
}

export async function findChangeable(tx: TenantTransaction, idOrKey: string): Promise<Changeable | undefined> {
  const { rows } = await tx.query<ChangeableRow>(
    `SELECT ${COLUMNS}, c.timezone,
       EXISTS (SELECT FROM billed_fees b WHERE b.tenant_id = s.tenant_id AND b.subscription_id = s.id
         AND b.period_start = s.next_period_start) AS fees_billed
     FROM subscriptions s
     JOIN plans p ON p.tenant_id = s.tenant_id AND p.id = s.plan_id
     JOIN customers c ON c.tenant_id = s.tenant_id AND c.id = s.customer_id
     WHERE s.id = $1::uuid OR s.external_key = $2
     ORDER BY s.id = $1::uuid DESC NULLS LAST LIMIT 1`,
    [idOrNull(idOrKey), idOrKey],
  )
  const [row] = rows
  if (row === undefined) return undefined
  const subscription = fromRow(row)
  const { startMs, contractEndMs: endMs } = subscription
  const { plan_periods: first, timezone: zone } = row
  const contract = { ...first, startMs, endMs, zone, later: recurringLater(first, subscription.phases) }
  return { subscription, contract, feesBilled: row.fees_billed }
}

/** Its state, end, next period, fees due and phases; of one that does not go on also where its contract ends. */
export async function storeChange(
  tx: TenantTransaction,
  subscription: Subscription,
  feesBilled: boolean,
): Promise<void> {
  const { id, state, endMs, contractEndMs, feesUntilMs, nextPeriod } = subscription
  await tx.query(
    `UPDATE subscriptions SET state = $2, end_at = $3, contract_end_at = $4, next_period_start = $5, next_period_end = $6,
       fees_due_at = $7, fees_until = $8, revision = revision + 1
     WHERE id = $1`,
    [
      ...[id, state, dateOrNull(endMs), dateOrNull(goesOn(state) ? null : contractEndMs)],
      ...[dateOrNull(nextPeriod?.startMs), dateOrNull(nextPeriod?.endMs)],
      ...[dateOrNull(feesDueMs(subscription, feesBilled)), dateOrNull(feesUntilMs)],
    ],
  )
  await insertPhases(tx, subscription)
}

export async function findSubscriptionByKey(
  tx: TenantTransaction,
  externalKey: string,
): Promise<Subscription | undefined> {
  const { rows } = await tx.query<SubscriptionRow>(`${SUBSCRIPTION} WHERE s.external_key = $1`, [externalKey])
  return rows.map(fromRow)[0]
}

/** A customer that is not there has no subscriptions. */
export async function listSubscriptions(
  tx: TenantTransaction,
  filter: { customer: string | null },
  page: Page,
): Promise<Subscription[]> {
  const { rows } = await tx.query<SubscriptionRow>(
    `${SUBSCRIPTION}
     WHERE ($1::text IS NULL OR s.customer_id = (
         SELECT c.id FROM customers c WHERE c.id = $2::uuid OR c.external_key = $1
         ORDER BY c.id = $2::uuid DESC NULLS LAST LIMIT 1))
       AND ($3::uuid IS NULL OR s.id > $3)
     ORDER BY s.id LIMIT $4`,
    [filter.customer, idOrNull(filter.customer ?? ''), page.after, page.limit],
  )
  return rows.map(fromRow)
}

function dateOrNull(ms: number | null | undefined): Date | null {
  return ms == null ? null : new Date(ms)
}

function fromRow(row: SubscriptionRow): Subscription {
  const { next_period_start: nextStart, next_period_end: nextEnd } = row
  return {
    id: row.id,
    externalKey: row.external_key,
    customerId: row.customer_id,
    planKey: row.plan_key,
    phases: phasesOf(row),
    // A process of an older version moves a subscription on without saying that it ended.
    state: nextStart === null ? 'ended' : row.state,
    startMs: row.start_at.getTime(),
    endMs: row.end_at?.getTime() ?? null,
    contractEndMs: (goesOn(row.state) ? row.end_at : row.contract_end_at)?.getTime() ?? null,
    feesUntilMs: row.fees_until?.getTime() ?? null,
    nextPeriod: nextStart && nextEnd && { startMs: nextStart.getTime(), endMs: nextEnd.getTime() },
    createdAtMs: row.created_at.getTime(),
    ...(row.agreed_terms === null ? {} : { agreed: row.agreed_terms }),
  }
}

/** Before the first that is stored, and where none is, it is active on its own plan. */
function phasesOf({
  start_at: start,
  plan_id: planId,
  plan_key: planKey,
  plan_version: planVersion,
  plan_fees_ahead: feesAhead,
  plan_negotiated: negotiated,
  plan_periods: periods,
  plan_licences: licences,
  phases,
}: SubscriptionRow): Phases<NamedPhase> {
  const of = { planId, planKey, planVersion, feesAhead, periods, negotiated, licences }
  const first: NamedPhase = { startMs: start.getTime(), ...of, kind: 'active', bills: true }
  const [stored, ...rest] = phases ?? []
  if (stored === undefined) return [first]
  return stored.startMs <= first.startMs ? [stored, ...rest] : [first, stored, ...rest]
}
