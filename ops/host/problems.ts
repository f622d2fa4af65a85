import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { PROBLEM_CODES, Problem, type ProblemCode, problemDocument } from '../../schemas/http/problem.ts'

const FASTIFY_CODES: Record<string, [ProblemCode, string]> = {
  FST_ERR_CTP_BODY_TOO_LARGE: ['body_too_large', 'Send less in one request.'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    'unsupported_media_type',
    'This route does not take that content type; /openapi.json lists those it takes.',
  ],
  FST_ERR_CTP_EMPTY_JSON_BODY: ['invalid_json', 'The content type says JSON, but the body is empty.'],
  FST_ERR_CTP_INVALID_JSON_BODY: ['invalid_json', 'The body is not JSON, or it has a member that no request may have.'],
}

/** SQLSTATE classes and system errors that mean "the store is away", and pg's own words where it gives no code. */
const AWAY_CODE = /^(08...|57P0.|53300|ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH)$/
const AWAY_MESSAGE =
  /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection)/

/** SQLSTATE of a text that Postgres cannot hold. */
const ZERO_BYTE = '22021'
/** ClickHouse's codes for its limits of time and memory. */
const TOO_MUCH = new Set(['159', '241'])

/** Any thrown thing as a problem. What nobody foresaw becomes `internal`, and its message stays inside. */
export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error
  const { code, statusCode, message } = (error ?? {}) as Partial<FastifyError>
  const known = code === undefined ? undefined : FASTIFY_CODES[code]
  if (known) return new Problem(known[0], known[1], { cause: error })
  // Fastify marks what the client did wrong (a cut body, a bad URL) with a status below 500.
  if (code?.startsWith('FST_ERR_') && statusCode && statusCode < 500)
    return new Problem('invalid_request', 'The request could not be read.', { cause: error })
  if (statusCode === 400 && (code === 'ECONNRESET' || code === 'ECONNABORTED'))
    return new Problem('invalid_request', 'The request ended early.', { cause: error })
  if (code === ZERO_BYTE) return new Problem('invalid_request', 'The request has a zero byte, which no text may hold.')
  if (code && TOO_MUCH.has(code)) {
    const detail =
      'The answer takes more time or memory than one query may: ask for a shorter time or for less at once.'
    return new Problem('overloaded', detail, { cause: error })
  }
  if ((code && AWAY_CODE.test(code)) || AWAY_MESSAGE.test(message ?? ''))
    return new Problem('unavailable', 'A store that this needs is away. Try again.', { cause: error })
  return new Problem('internal', 'The error was logged; name the id in `instance` when you report it.', {
    cause: error,
  })
}

/** Answers with the problem document, and logs what is our fault. */
export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const problem = asPromised(toProblem(error), request.routeOptions?.config?.failsAs)
  const document: Record<string, unknown> = problemDocument(problem)
  const { status } = PROBLEM_CODES[problem.code]
  if (status >= 500) {
    document.instance = `urn:uuid:${request.id}`
    request.log[status === 503 ? 'warn' : 'error']({ error, code: problem.code }, 'request failed')
  }
  const { retryAfterSeconds } = problem.options
  if (status === 503 || retryAfterSeconds !== undefined) reply.header('retry-after', String(retryAfterSeconds ?? 1))
  if (status === 401) reply.header('www-authenticate', 'Bearer')
  return reply
    .code(status)
    .type('application/problem+json')
    .serializer((payload: unknown) => JSON.stringify(payload))
    .send(document)
}

/** A route may have promised how what fails unforeseen is called. */
function asPromised(problem: Problem, code: ProblemCode | undefined): Problem {
  if (code === undefined || PROBLEM_CODES[problem.code].status !== 500) return problem
  return new Problem(code, problem.message, { ...problem.options, cause: problem.cause })
}

export function sendNotFound(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  return sendProblem(new Problem('not_found', 'There is no such route; /openapi.json lists them.'), request, reply)
}
