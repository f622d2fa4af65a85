import { counterId, countersOf, type QuotaDecision, type QuotaItem, type QuotaStore } from './quota-store.ts'

type Draw = QuotaStore['draw']
type Answer = Awaited<ReturnType<Draw>>
type Asker = {
  items: readonly QuotaItem[]
  nowMs: number
  enforce: boolean
  done: (answer: Answer) => void
  fail: (error: unknown) => void
}

/** Together they hold the store up no longer than a large request does. */
const MOST_ITEMS = 1_000

/**
 * Makes one draw of those that come in one turn of the event loop, or while another is under way: a command to the
 * store costs more than a draw. Their items stand in the order in which they came, so each is decided as if it came
 * alone. Only those of one tenant go together, because no script of a cluster reaches the keys of two.
 * `ofOne` tells a failure which is some request's own, and took nothing: each is then asked alone. Any other failure
 * is the store's, and those that wait behind it fail with it, so that nobody waits twice.
 */
export function gatherDraws(draw: Draw, ofOne: (error: unknown) => boolean): Draw {
  const queues = new Map<string, Asker[]>()

  const empty = async (name: string, queue: Asker[]): Promise<void> => {
    while (queue.length > 0) {
      const group = takeGroup(queue)
      try {
        queue.unshift(...answer(group, await drawTogether(draw, group)))
      } catch (error) {
        if (group.length > 1 && ofOne(error)) await Promise.all(group.map((asker) => askAlone(draw, asker)))
        else for (const { fail } of ofOne(error) ? group : [...group, ...queue.splice(0)]) fail(error)
      }
    }
    queues.delete(name)
  }

  return (items, nowMs, enforce) =>
    new Promise((done, fail) => {
      const asker = { items, nowMs, enforce, done, fail }
      const name = `${items[0]?.draws[0]?.counter.tenant} ${enforce}`
      const queue = queues.get(name)
      if (queue) {
        queue.push(asker)
        return
      }
      const waiting = [asker]
      queues.set(name, waiting)
      setImmediate(empty, name, waiting)
    })
}

function takeGroup(queue: Asker[]): Asker[] {
  let items = 0
  let size = 0
  for (const asker of queue) {
    items += asker.items.length
    if (size > 0 && items > MOST_ITEMS) break
    size++
  }
  return queue.splice(0, size)
}

function drawTogether(draw: Draw, group: readonly Asker[]): Promise<Answer> {
  const [first, ...others] = group
  if (!first) return Promise.resolve({ decisions: [] })
  const items = others.length === 0 ? first.items : group.flatMap((asker) => asker.items)
  return draw(items, Math.max(...group.map(({ nowMs }) => nowMs)), first.enforce)
}

/** Answers each with what is its own. Those that miss no counter, while others do, were not decided: they are left. */
function answer(group: readonly Asker[], answered: Answer): Asker[] {
  if ('decisions' in answered) {
    let next = 0
    for (const { items, done } of group) {
      const decisions: QuotaDecision[] = answered.decisions.slice(next, next + items.length)
      next += items.length
      done({ decisions })
    }
    return []
  }
  const missing = new Map(answered.missing.map((counter) => [counterId(counter), counter]))
  return group.filter(({ items, done }) => {
    // Draws share the objects of their counters mostly: only then are their names made.
    const counters = new Set(items.flatMap(({ draws }) => draws.flatMap(countersOf)))
    const missed = new Set([...counters].flatMap((counter) => missing.get(counterId(counter)) ?? []))
    if (missed.size === 0) return true
    done({ missing: [...missed] })
    return false
  })
}

async function askAlone(draw: Draw, { items, nowMs, enforce, done, fail }: Asker): Promise<void> {
  await draw(items, nowMs, enforce).then(done, fail)
}
