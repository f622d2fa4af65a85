import { meterRequest, type RawResponse, type RequestMeterOptions } from './request-usage.ts'

export type { RequestMeterOptions } from './request-usage.ts'

/** As much of Fastify 4 and 5 as is used. */
export type FastifyReplyLike = {
  raw: RawResponse
  readonly sent: boolean
  code: (status: number) => FastifyReplyLike
  header: (name: string, value: string) => FastifyReplyLike
  send: (body: unknown) => unknown
}
type PreHandler<Request> = (request: Request, reply: FastifyReplyLike) => Promise<unknown>

/**
 * A preHandler hook, for a route (`{ preHandler: meterFastify({…}) }`) or for all of a scope
 * (`app.addHook('preHandler', meterFastify({…}))`).
 */
export function meterFastify<Request>(options: RequestMeterOptions<Request>): PreHandler<Request> {
  return async (request, reply) => {
    const refusal = await meterRequest(options, request, reply.raw)
    if (!refusal) return undefined
    // Another hook answered while the decision was on its way.
    if (reply.sent || reply.raw.headersSent) return reply
    return reply.code(refusal.status).header('content-type', 'application/problem+json').send(refusal.body)
  }
}
