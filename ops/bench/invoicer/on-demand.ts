import { Agent } from 'node:http'
import { ALL_SUBJECTS } from '../events.ts'
import type { Fact } from '../fact.ts'
import type { Figure, FigureInput } from '../figure.ts'
import { post } from '../paced/post.ts'
import { PLAIN } from '../paced/traffic.ts'
import { countedNow, untilCounted, type World, withWorld } from '../paced/world.ts'
import { percentileOf } from '../percentile.ts'
import { PLAN } from './world.postgres.ts'

const EVENTS = { perSecond: 1_000, seconds: 2, shape: PLAIN }
/** What is compiled and filled at first is none of them. */
const WARM_UPS = 20
const IN_SECONDS = 'answered, one after the other'

/** How long somebody waits who asks for one thing: a new subscription, its coming invoice, an invoice now. */
export const onDemand: Figure = (input) => withWorld(input, 'on-demand', (world) => measure(input, world))

async function measure({ mode, sizes }: FigureInput, world: World): Promise<Fact[]> {
  const before = await countedNow(world)
  const { fresh } = await world.load(EVENTS)
  await untilCounted(world, before + fresh)
  const count = sizes.onDemand + WARM_UPS
  const { call, close } = callsOf(world)
  try {
    await call('/plans', planBody())
    const keys = Array.from({ length: count }, (_, index) => `customer-${index}`)
    for (const [index, key] of keys.entries()) {
      await call('/customers', { external_key: key, currency: 'USD', subjects: [ALL_SUBJECTS[index] ?? key] })
      await call('/invoice-items', {
        customer: key,
        description: 'Setup',
        amount: '100.00',
        external_key: `item-${key}`,
      })
    }
    const start = new Date(Date.now() - 3_600_000).toISOString()
    const created = await eachMs(keys, (key) =>
      call('/subscriptions', { external_key: key, customer: key, plan: PLAN.key, start }),
    )
    const previews = await eachMs(keys, (key) => call(`/subscriptions/${key}/preview`))
    const invoices = await eachMs(keys, async (key) => {
      const { state } = await call('/invoices', { customer: key }, { 'idempotency-key': key })
      if (state !== 'paid') throw new Error(`The invoice of ${key} is ${state}`)
    })
    const facts = (what: string, ms: readonly number[], target: string): Fact[] =>
      [50, 95].map((rank) => ({
        ...{ mode, figure: 'on demand', what: `${what}, p${rank}`, value: percentileOf(ms, rank / 100), unit: 'ms' },
        ...{ detail: { requests: ms.length, how: IN_SECONDS }, ...(rank === 95 ? { target } : {}) },
      }))
    return [
      ...facts('subscription created', created, '< 20 ms'),
      ...facts('preview of the coming invoice', previews, '< 50 ms'),
      ...facts('one invoice of a one-time item, paid', invoices, '< 50 ms'),
    ]
  } finally {
    close()
  }
}

async function eachMs(keys: readonly string[], work: (key: string) => Promise<unknown>): Promise<number[]> {
  const taken: number[] = []
  for (const key of keys) {
    const startedMs = performance.now()
    await work(key)
    taken.push(performance.now() - startedMs)
  }
  return taken.slice(WARM_UPS)
}

function callsOf({ started: { url, key } }: World) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const call = async (path: string, body?: object, headers: Record<string, string> = {}) => {
    const answered = await post(agent, `${url}/api/v1${path}`, key, body && JSON.stringify(body), headers)
    if (answered.status >= 300) throw new Error(`${path} answered ${answered.status}: ${answered.text.slice(0, 500)}`)
    return JSON.parse(answered.text) as { state?: string }
  }
  return { call, close: () => agent.destroy() }
}

function planBody() {
  const { key, name, currency, interval, alignment, fees, charges } = PLAN
  return { key, name, currency, interval, alignment, fees, charges }
}
