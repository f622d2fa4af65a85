import { Problem, type ProblemError } from '../../schemas/http/problem.ts'

/** Notes a fault of a schema; `path` is its place in the JSON, such as `fields[1].type`. */
export type Report = (path: string, message: string) => void

/** Enough to repair a schema; a hostile one must not make the answer large. */
const MOST_ERRORS = 20

/** Collects faults, so that a caller learns of all at once. */
export function collectErrors(): { report: Report; errors: ProblemError[] } {
  const errors: ProblemError[] = []
  return {
    errors,
    report: (path, message) => {
      if (errors.length < MOST_ERRORS) errors.push({ path: path.replace(/^\./, ''), message })
    },
  }
}

/** The problem `invalid_schema` with its places. */
export function invalidSchema(errors: ProblemError[]): Problem {
  const [first] = errors
  const place = first ? ` ${first.path === '' ? 'The schema' : first.path} ${first.message}.` : ''
  return new Problem('invalid_schema', `Correct the Avro schema and register it again.${place}`, { errors })
}
