import { eventually } from '../support/product.ts'
import { cloudEvent, keyOf, type TestEvent } from './events.ts'
import type { Crash } from './mortal.ts'
import type { Step } from './steps.ts'
import type { TrafficWorld } from './traffic-world.ts'

const LIMIT = 1_000_000
const SUBJECT = 'limited'
export const QUOTA_EVENTS = 4

export type QuotaWorld = Pick<TrafficWorld, 'ledger' | 'source' | 'tenant'> & {
  crashAt: (step: Step, provoke: () => Promise<void>) => Promise<Crash>
}

type Outcome = { outcome: string; quota_remaining: string }
type Usage = { total: { events: number; quantity: string } }

/**
 * A limit, used up in steps, with a kill -9 between the draw and the append of the second one. What is wrong with the
 * counter, in sentences: an event draws once, however often it is sent, and none is let in beyond the limit.
 */
export async function quotaCrashProblems(world: QuotaWorld): Promise<string[]> {
  const problems: string[] = []
  const send = async (id: string, context: number) => {
    const event: TestEvent = { ...world.source.next(), id, source: 'q', subject: SUBJECT, timeMs: undefined, context }
    const { body } = await world.tenant().send<{ outcomes: Outcome[] }>('POST', '/events', [cloudEvent(event)])
    const [outcome] = body.outcomes
    if (outcome?.outcome === 'accepted') world.ledger.acknowledged.add(keyOf(event))
    return `${outcome?.outcome}, ${outcome?.quota_remaining} left`
  }
  const expectAnswer = async (id: string, context: number, right: string) => {
    const seen = await send(id, context)
    if (seen !== right) problems.push(`${id} was answered with ${seen} instead of ${right}`)
  }
  await world.tenant().call('PUT', `/quota/${SUBJECT}/context_tokens`, { limit: String(LIMIT), window: 'month' })
  await expectAnswer('limited-1', 1_000, `accepted, ${LIMIT - 1_000} left`)
  const crash = await world.crashAt('quota-drawn', async () => {
    const answer = await send('limited-2', 2_000).catch(() => undefined)
    if (answer) problems.push(`the killed process has answered: ${answer}`)
  })
  if (crash.reached !== 'quota-drawn') problems.push(`the process died at ${crash.reached}`)
  await expectAnswer('limited-2', 2_000, `accepted, ${LIMIT - 3_000} left`)
  await expectAnswer('limited-2', 2_000, `accepted, ${LIMIT - 3_000} left`)
  await expectAnswer('limited-3', 3_000, `accepted, ${LIMIT - 6_000} left`)
  await expectAnswer('limited-4', LIMIT - 5_999, `quota_exceeded, ${LIMIT - 6_000} left`)
  await expectAnswer('limited-5', LIMIT - 6_000, 'accepted, 0 left')
  if (problems.length > 0) return problems
  const query = `meter=context_tokens&subject=${SUBJECT}&from=2020-01-01T00:00:00Z&to=2090-01-01T00:00:00Z`
  const { total } = await eventually(
    () => world.tenant().call<Usage>('GET', `/usage?${query}`),
    (usage) => usage.total.events === QUOTA_EVENTS,
  )
  if (total.quantity !== String(LIMIT)) problems.push(`usage is ${total.quantity} instead of the whole limit`)
  return problems
}
