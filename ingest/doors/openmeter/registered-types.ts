import type { TenantId } from '../../../schemas/http/door.ts'

/** Which of these types somebody has registered, as of a moment after the question. */
export type RegisteredTypes = (tenant: TenantId, types: readonly string[]) => Promise<ReadonlySet<string>>

/**
 * Asks one question a tenant at a time. Those who come meanwhile share the next one: the one under way may have looked
 * before they came. So many requests cost few questions, and no answer is older than its question.
 */
export function createRegisteredTypes(
  look: (tenant: TenantId, types: readonly string[]) => Promise<readonly string[]>,
): RegisteredTypes {
  const next = new Map<TenantId, { types: Set<string>; answer: Promise<ReadonlySet<string>> }>()
  const last = new Map<TenantId, Promise<unknown>>()

  const ask = (tenant: TenantId) => {
    const types = new Set<string>()
    const before = last.get(tenant)
    const answer = (async () => {
      await before?.catch(() => undefined)
      next.delete(tenant)
      return new Set(await look(tenant, [...types]))
    })()
    const forget = () => {
      if (last.get(tenant) === answer) last.delete(tenant)
    }
    answer.then(forget, forget)
    last.set(tenant, answer)
    const asked = { types, answer }
    next.set(tenant, asked)
    return asked
  }
  return (tenant, types) => {
    const asked = next.get(tenant) ?? ask(tenant)
    for (const type of types) asked.types.add(type)
    return asked.answer
  }
}
