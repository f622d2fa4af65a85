import { type Static, Type } from 'typebox'

/**
 * RFC 9457 problem documents. `code` is stable and documented; `retryable` says whether the same request may
 * succeed later; `detail` tells the caller what to do.
 */
export const ProblemDocument = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.String(),
    detail: Type.String(),
    retryable: Type.Boolean(),
    errors: Type.Optional(Type.Array(Type.Object({ path: Type.String(), message: Type.String() }))),
  },
  { $id: 'Problem', additionalProperties: true },
)
export type ProblemDocument = Static<typeof ProblemDocument>
export type ProblemError = { path: string; message: string }

/** Every code the product answers with, its HTTP status and title. A code is never renamed. */
export const PROBLEM_CODES = {
  invalid_request: { status: 400, title: 'The request is not valid' },
  invalid_json: { status: 400, title: 'The body is not valid JSON' },
  invalid_encoding: { status: 400, title: 'The body cannot be decoded' },
  invalid_schema: { status: 400, title: 'The schema is not valid' },
  events_refused: { status: 400, title: 'No event of the request was accepted' },
  unauthenticated: { status: 401, title: 'No valid API key was given' },
  forbidden: { status: 403, title: 'The API key lacks a permission' },
  wrong_organization: { status: 403, title: 'The user belongs to another organization' },
  out_of_scope: { status: 403, title: 'The API key sees a part of the usage only' },
  not_found: { status: 404, title: 'There is no such thing' },
  conflict: { status: 409, title: 'The request contradicts what is stored' },
  incompatible_schema: { status: 409, title: 'The schema is not backward compatible' },
  illegal_state: { status: 409, title: 'This is not possible in the present state' },
  body_too_large: { status: 413, title: 'The body is too large' },
  unsupported_media_type: { status: 415, title: 'The content type is not supported' },
  quota_exceeded: { status: 429, title: 'The quota is used up' },
  calculation_failed: { status: 500, title: 'A billing calculation failed' },
  billing_calculation_failed: { status: 500, title: 'The billing calculation failed' },
  internal: { status: 500, title: 'Something went wrong here' },
  overloaded: { status: 503, title: 'The service cannot take more at the moment' },
  unavailable: { status: 503, title: 'A store is away' },
} as const
export type ProblemCode = keyof typeof PROBLEM_CODES

export type ProblemOptions = {
  errors?: ProblemError[]
  retryable?: boolean
  retryAfterSeconds?: number
  /** Further members of the document, for example the outcomes of a batch. */
  extra?: Record<string, unknown>
  cause?: unknown
}

/** Thrown by operations; the host turns it into a problem document. An Error must be a class to carry a stack. */
export class Problem extends Error {
  readonly code: ProblemCode
  readonly options: ProblemOptions
  constructor(code: ProblemCode, detail: string, options: ProblemOptions = {}) {
    super(detail, { cause: options.cause })
    this.name = 'Problem'
    this.code = code
    this.options = options
  }
}

/** The document and status of a problem. 503 is retryable unless the thrower says otherwise. */
export function problemDocument(problem: Problem): ProblemDocument {
  const { status, title } = PROBLEM_CODES[problem.code]
  const { errors, retryable, extra } = problem.options
  return {
    type: `https://tallyline.dev/problems/${problem.code}`,
    title,
    status,
    code: problem.code,
    detail: problem.message,
    retryable: retryable ?? status === 503,
    ...(errors ? { errors } : {}),
    ...extra,
  }
}
