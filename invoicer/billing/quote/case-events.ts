import { badCase } from './bad-case.ts'
import { instantAt, listAt, type Members, memberOf, membersAt } from './case-shape.ts'

/** An event may be given as it was sent. Of these members none counts but for who it is and when it was known. */
const OF_ANY_EVENT = ['time', 'known_at', 'id', 'source', 'subject', 'type', 'customer', 'code', 'name', 'description']

type Timed = { timeMs: number | undefined }

/**
 * The events of a case, each as `read` from its members, of which `own` are those that count. In the order of their
 * times, of equal times in that in which they were known (one that does not say: at its time), then in the order given;
 * without times in the order given. Events of one source and id are one event: the first given.
 */
export function eventsAt<Read extends object>(
  value: unknown,
  own: readonly string[],
  read: (members: Members, field: string) => Read,
  timesNeeded = false,
): (Read & Timed)[] {
  const known = [...own, ...OF_ANY_EVENT]
  const identities = new Set<string>()
  const events = listAt(value, 'events').flatMap((item, index) => {
    const field = `events.${index}`
    const members = membersAt(item, field, known)
    const timeMs = timeAt(members, 'time', field)
    const knownMs = timeAt(members, 'known_at', field) ?? timeMs
    const event = { timeMs, knownMs, field, ...read(members, field) }
    const identity = identityAt(members, field)
    if (identity === undefined) return [event]
    if (identities.has(identity)) return []
    identities.add(identity)
    return [event]
  })
  const timed = timesNeeded || events.some(({ timeMs }) => timeMs !== undefined)
  const without = timed ? events.find(({ timeMs }) => timeMs === undefined) : undefined
  if (without !== undefined) {
    const send = timesNeeded ? 'Times are needed here, of every event.' : 'Send a time with every event, or with none.'
    throw badCase(memberOf(without.field, 'time'), `This is missing. ${send}`)
  }
  if (!timed) return events
  return events.sort((a, b) => (a.timeMs ?? 0) - (b.timeMs ?? 0) || (a.knownMs ?? 0) - (b.knownMs ?? 0))
}

function timeAt(members: Members, name: 'time' | 'known_at', field: string): number | undefined {
  return members[name] === undefined ? undefined : instantAt(members[name], memberOf(field, name))
}

/** Two events must not be taken for one, nor one for two: an id is text, or a whole number that JSON keeps. */
function identityAt({ id, source }: Members, field: string): string | undefined {
  if (source !== undefined && typeof source !== 'string') throw badCase(memberOf(field, 'source'), 'This must be text.')
  if (id === undefined) return undefined
  const isId = typeof id === 'string' ? id !== '' : Number.isSafeInteger(id)
  if (isId) return JSON.stringify([source, String(id)])
  throw badCase(memberOf(field, 'id'), 'An id is text that is not empty: send it as a string.')
}
