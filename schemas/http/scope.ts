/**
 * What a key sees of usage, events and subjects (HC-8): everything in its tenant; one customer, by its id, with the
 * subjects that are the customer's when it asks; or these subjects alone.
 */
export type Scope = 'everything' | { customer: string } | { subjects: readonly string[] }

/** Whose usage a scope comes to at the moment: everybody's, or that of these; an empty list is nobody's. */
export type Visible = 'everything' | readonly string[]

/** Those asked for that may be seen; without a question, all that may. One that may not be seen is left out, as unknown. */
export function seenSubjects(asked: readonly string[] | undefined, visible: Visible): Visible {
  if (asked === undefined) return visible
  return visible === 'everything' ? asked : asked.filter((subject) => visible.includes(subject))
}
