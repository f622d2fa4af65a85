import type { Pool } from 'pg'
import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import type { Scope } from '../../schemas/http/scope.ts'
import { findCustomerId } from './customers.postgres.ts'

/** As it is asked for: one of the two. A customer is named by its external key or id. */
export type ScopeInput = { customer?: string | undefined; subjects?: readonly string[] | undefined }

const MOST_SUBJECTS = 100
const LONGEST_SUBJECT = 256
/** Postgres has no text with it, so nobody has such a name. */
const NUL = '\0'
const NO_NUL = 'must not have the character U+0000'

/** The scope that is asked for; nothing asked for is everything. An empty one is refused: it must not mean everything. */
export async function readScope(pool: Pool, tenantId: TenantId, input: ScopeInput | undefined): Promise<Scope> {
  if (input === undefined) return 'everything'
  const { customer, subjects } = input
  if ((customer === undefined) === (subjects === undefined))
    throw invalid('scope', 'names either a customer or subjects')
  if (subjects !== undefined) return { subjects: checkSubjects(subjects) }
  if (customer?.includes(NUL)) throw invalid('scope.customer', NO_NUL)
  const id = customer === undefined ? undefined : await findCustomerId(pool, tenantId, customer)
  if (id === undefined) throw invalid('scope.customer', 'is no external key or id of a customer of this tenant')
  return { customer: id }
}

function checkSubjects(subjects: readonly string[]): string[] {
  const wanted = [...new Set(subjects)]
  if (wanted.length === 0 || wanted.length > MOST_SUBJECTS)
    throw invalid('scope.subjects', `must name 1 to ${MOST_SUBJECTS} subjects`)
  const odd = wanted.findIndex((subject) => subject.length === 0 || subject.length > LONGEST_SUBJECT)
  if (odd >= 0) throw invalid(`scope.subjects.${odd}`, `must have 1 to ${LONGEST_SUBJECT} characters`)
  const withNul = wanted.findIndex((subject) => subject.includes(NUL))
  if (withNul >= 0) throw invalid(`scope.subjects.${withNul}`, NO_NUL)
  return wanted
}

function invalid(path: string, message: string): Problem {
  return new Problem('invalid_request', `${path} ${message}.`, { errors: [{ path, message }] })
}
