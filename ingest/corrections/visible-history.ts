import type { Visible } from '../../schemas/http/scope.ts'
import type { EventHistory, EventOperation } from './history.ts'

/**
 * What may be seen of an event (HC-8): it is that of the subject it counts for, and to everybody else as unknown as one
 * that was never sent. Copies and replacements of other subjects are left out, and so is what an operator wrote of it.
 */
export function visibleHistory(history: EventHistory, visible: Visible): EventHistory | undefined {
  if (visible === 'everything') return history
  const subject = subjectOf(history)
  if (subject === undefined || !visible.includes(subject)) return undefined
  return {
    ...history,
    copies: history.copies.filter((copy) => visible.includes(copy.subject)),
    operations: history.operations.map((operation) => withoutOthers(operation, visible)),
  }
}

/** Of a voided event the one it counted for before. What waits is nobody's yet. */
function subjectOf({ copies, operations }: EventHistory): string | undefined {
  const [first] = copies
  if (!first) return undefined
  return operations.findLast(({ event }) => event !== undefined)?.event?.subject ?? first.subject
}

function withoutOthers({ event, ...operation }: EventOperation, visible: readonly string[]): EventOperation {
  const own = event && visible.includes(event.subject) ? { event } : {}
  return { ...operation, reason: '', by: '', ...own }
}
