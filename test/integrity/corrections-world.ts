import { pino } from 'pino'
import { v7 } from 'uuid'
import { rebuildTenant } from '../../aggregator/rebuild/rebuild.ts'
import { KNOWN_UNTIL_NOW_MS } from '../../schemas/clickhouse/store.ts'
import { cloudEvent, type Json, LLM_SCHEMA, METERING_NOW, type Metering, type Tenant } from '../support/metering.ts'
import type { Random } from '../support/random.ts'

type Payload = { subject: string; tokens: number }
type Operation = { operationId: string; payload: Payload | undefined }
/** What is known of an identity, as the rules say it: the first copy, and operations by the first of their copies. */
type Known = { first: Payload | undefined; operations: Operation[] }

export type CorrectionsWorld = {
  /** One thing happens; returns what is wrong after it. */
  step(): Promise<string[]>
  counts: Record<string, number>
}

const REBUILD_EVERY = 4
const SUBJECTS = ['acme', 'globex']
const MONTH = 'from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z'
/** By the aggregations that a void must leave right: a quantity of the tokens of the events that count. */
const METERS: Record<string, (tokens: number[]) => number> = {
  sum: (tokens) => tokens.reduce((sum, one) => sum + one, 0),
  max: (tokens) => Math.max(0, ...tokens),
  unique_count: (tokens) => new Set(tokens).size,
}

/** Emitters, and someone who corrects what they sent, over the product's doors, beside a model that knows the rules. */
export async function createCorrectionsWorld(
  metering: Metering,
  tenant: Tenant,
  random: Random,
): Promise<CorrectionsWorld> {
  const ids = ['opaque-1', 'opaque-2', ...[0, 1, 30_000].map((ms) => v7({ msecs: METERING_NOW - 600_000 + ms }))]
  const known = new Map<string, Known>(ids.map((id) => [id, { first: undefined, operations: [] }]))
  const said: { kind: 'void' | 'replace'; id: string; body: Json; operation: Operation }[] = []
  const counts: Record<string, number> = {}
  let runs = 0
  let steps = 0

  await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
  for (const aggregation of Object.keys(METERS)) {
    const meter = { event_type: 'llm.request', aggregation, value: 'tokens' }
    const { status, body } = await tenant.call('PUT', `/meters/${aggregation}`, meter)
    if (status !== 200) throw new Error(`The meter ${aggregation} was answered with ${status}: ${JSON.stringify(body)}`)
  }

  const payload = (): Payload => ({ subject: random.pick(SUBJECTS), tokens: random.below(5) })
  const send = async () => {
    const id = random.pick(ids)
    const { subject, tokens } = payload()
    const { status } = await tenant.send(JSON.stringify(cloudEvent(id, { tokens }, { subject })))
    if (status !== 202) throw new Error(`An event was answered with ${status}`)
    const identity = known.get(id)!
    identity.first ??= { subject, tokens }
  }
  const ask = async (one: (typeof said)[number]) => {
    const { status, body } = await tenant.call('POST', `/events/${one.kind}`, one.body)
    if (status !== 202) throw new Error(`A ${one.kind} was answered with ${status}: ${JSON.stringify(body)}`)
    const { operations } = known.get(one.id)!
    if (!operations.some(({ operationId }) => operationId === one.operation.operationId)) operations.push(one.operation)
  }
  const correct = async (kind: 'void' | 'replace') => {
    const id = random.pick(ids)
    const operation = { operationId: v7(), payload: kind === 'void' ? undefined : payload() }
    const { subject, tokens } = operation.payload ?? { subject: '', tokens: 0 }
    const event = { type: 'llm.request', subject, time: '2026-11-20T10:00:00Z', data: { tokens } }
    const target = { source: 'test', id, reason: 'a world', operation_id: operation.operationId }
    const one = { kind, id, operation, body: kind === 'void' ? target : { ...target, event } }
    said.push(one)
    await ask(one)
  }
  const rebuild = async () => {
    const now = () => Date.now() + 3_600_000
    const deps = { store: metering.store, logger: pino({ level: 'silent' }), now, random20: () => runs++ }
    await rebuildTenant(deps, tenant.id)
  }
  const things: Record<string, () => Promise<void>> = {
    send,
    'send again': send,
    void: () => correct('void'),
    replace: () => correct('replace'),
    'ask again': async () => {
      if (said.length > 0) await ask(random.pick(said))
    },
  }

  const step = async () => {
    metering.clock.nowMs += 1 + random.below(60_000)
    // The rollups of that moment must not stay what is read: something comes after each of them.
    const name = ++steps % REBUILD_EVERY === 0 ? 'rebuild' : random.pick(Object.keys(things))
    counts[name] = (counts[name] ?? 0) + 1
    await (things[name] ?? rebuild)()
    await metering.settled()
    const problems = [
      ...(await usageProblems(tenant, known)),
      ...(await historyProblems(tenant, known, random.pick(ids))),
      ...(await listProblems(metering, tenant, known)),
    ]
    return problems.map((problem) => `after ${name}: ${problem}`)
  }
  return { step, counts }
}

/** What an identity counts as: nothing without a copy, or when the operation known last is a void. */
function effective({ first, operations }: Known): Payload | undefined {
  const last = operations.at(-1)
  return first && last ? last.payload : first
}

async function usageProblems(tenant: Tenant, known: ReadonlyMap<string, Known>): Promise<string[]> {
  const counted = [...known.values()].flatMap((identity) => effective(identity) ?? [])
  const problems: string[] = []
  for (const [meter, quantityOf] of Object.entries(METERS)) {
    const { body } = await tenant.call('GET', `/usage?meter=${meter}&group_by=subject&${MONTH}`)
    const windows = (body.windows ?? []) as { subject: string; quantity: string; events: number }[]
    const seen = windows.map(({ subject, quantity, events }) => `${subject}: ${quantity} in ${events}`)
    const right = SUBJECTS.flatMap((subject) => {
      const tokens = counted.flatMap((one) => (one.subject === subject ? [one.tokens] : []))
      return tokens.length === 0 ? [] : [`${subject}: ${quantityOf(tokens)} in ${tokens.length}`]
    })
    if (seen.join() !== right.join()) problems.push(`${meter} is ${seen.join()}, not ${right.join()}`)
  }
  return problems
}

/** The view that others read, and what a void by filter would find, say the same. */
async function listProblems(metering: Metering, tenant: Tenant, known: ReadonlyMap<string, Known>): Promise<string[]> {
  const seen = await metering.store.query<{ row: string }>(
    `SELECT id || if(voided, ' voided', ' of ' || subject) || ' by ' || toString(operations) AS row
     FROM effective_events(tenant = {tenant:UInt32}, as_of_ms = {now:Int64}) ORDER BY row`,
    { tenant: tenant.id, now: KNOWN_UNTIL_NOW_MS },
  )
  const right = [...known].flatMap(([id, identity]) => {
    if (!identity.first) return []
    const counts = effective(identity)
    return [`${id} ${counts ? `of ${counts.subject}` : 'voided'} by ${identity.operations.length}`]
  })
  const view = seen.map(({ row }) => row).join()
  const filter = { from: '2026-11-01T00:00:00Z', to: '2026-12-01T00:00:00Z' }
  const { body } = await tenant.call('POST', '/events/void', { filter, dry_run: true })
  const counted = [...known.values()].filter((identity) => effective(identity)).length
  return [
    ...(view === right.sort().join() ? [] : [`effective_events shows ${view}, not ${right.join()}`]),
    ...(body.count === counted ? [] : [`a filter finds ${body.count}, not ${counted}`]),
  ]
}

async function historyProblems(tenant: Tenant, known: ReadonlyMap<string, Known>, id: string): Promise<string[]> {
  const { status, body } = await tenant.call('GET', `/events?source=test&id=${id}`)
  const identity = known.get(id)!
  const { first, operations } = identity
  const counts = effective(identity)
  const isKnown = first !== undefined || operations.length > 0
  const right = {
    status: isKnown ? 200 : 404,
    state: !isKnown ? undefined : first === undefined ? 'waits' : counts ? 'counts' : 'voided',
    subject: counts?.subject,
    operations: isKnown ? operations.length : undefined,
  }
  const history = body as { state?: string; event?: Payload; operations?: unknown[] }
  const seen = { status, state: history.state, subject: history.event?.subject, operations: history.operations?.length }
  return JSON.stringify(seen) === JSON.stringify(right)
    ? []
    : [`event ${id} is ${JSON.stringify(seen)}, not ${JSON.stringify(right)}`]
}
