import { type Static, Type } from 'typebox'
import { type BillingRunReport, RUN_STATES } from '../../../billing/run/billing-run.ts'
import { paceOf } from '../../../billing/run/pace.ts'
import { Id, Instant, instantText, instantTextOrNull, Nullable } from '../shapes.ts'

export const runExample = {
  id: '01890a5d-ac96-774b-bcce-b302099a8057',
  state: 'completed',
  step: 'complete',
  dry_run: false,
  retries: null,
  as_of: '2023-12-02T00:00:00.000Z',
  started_at: '2023-12-02T00:00:00.000Z',
  ended_at: '2023-12-02T00:00:09.000Z',
  seal: {
    id: '01890a5d-ac96-774b-bcce-b302099a8058',
    known_before: '2023-12-02T00:00:00.001Z',
    event_count: 19366,
    digest: '170141183460469231731687303715884105727',
  },
  subscriptions_due: 10,
  subscriptions_left: null,
  invoices_created: 10,
  invoices_per_second: 512.5,
  expected_to_be_issued_at: null,
  parked_count: 0,
  parked: [],
  approved_by: null,
  cancelled_by: null,
  error: null,
}

export const RunState = Type.Enum([...RUN_STATES])

export const RunAnswer = Type.Object(
  {
    id: Id,
    state: RunState,
    step: Type.String(),
    dry_run: Type.Boolean({ description: 'It bills nothing.' }),
    retries: Nullable({ ...Id, description: 'The run whose parked subscriptions it tries again.' }),
    as_of: Instant,
    started_at: Instant,
    ended_at: Nullable(Instant),
    seal: Nullable(Type.Object({ id: Id, known_before: Instant, event_count: Type.Integer(), digest: Type.String() })),
    subscriptions_due: Type.Integer(),
    subscriptions_left: Nullable(
      Type.Integer({ description: 'Due, and neither billed nor parked; null when it has ended.' }),
    ),
    invoices_created: Type.Integer(),
    invoices_per_second: Nullable(Type.Number({ description: 'From its first invoice to the last one so far.' })),
    expected_to_be_issued_at: Nullable(Type.String({ ...Instant, description: 'At the pace so far.' })),
    parked_count: Type.Integer({ description: 'Parked by it, and not billed since.' }),
    parked: Type.Array(Type.Object({ subscription_id: Id, reason: Type.String() }), {
      description: 'The first thousand of these.',
    }),
    approved_by: Nullable(Type.String({ description: 'The id of the key.' })),
    cancelled_by: Nullable(Type.String({ description: 'The id of the key.' })),
    error: Nullable(Type.String()),
  },
  { examples: [runExample] },
)

export function runAnswer(run: BillingRunReport): Static<typeof RunAnswer> {
  const { seal } = run
  const { invoicesPerSecond, issuedAtMs } = paceOf(run)
  return {
    id: run.id,
    state: run.state,
    step: run.step,
    dry_run: run.dryRun,
    retries: run.retriesRun,
    as_of: instantText(run.asOfMs),
    started_at: instantText(run.openedAtMs),
    ended_at: instantTextOrNull(run.endedAtMs),
    seal: seal && {
      id: seal.id,
      known_before: instantText(seal.knownBeforeMs),
      event_count: seal.eventCount,
      digest: seal.digest,
    },
    subscriptions_due: run.subscriptionsDue ?? 0,
    subscriptions_left: run.subscriptionsLeft,
    invoices_created: run.invoicesCreated,
    invoices_per_second: invoicesPerSecond,
    expected_to_be_issued_at: instantTextOrNull(issuedAtMs),
    parked_count: run.parkedCount,
    parked: run.parked.map(({ subscriptionId, reason }) => ({ subscription_id: subscriptionId, reason })),
    approved_by: run.approvedBy,
    cancelled_by: run.cancelledBy,
    error: run.error,
  }
}
