import { meterRequest, type RawResponse, type RequestMeterOptions } from './request-usage.ts'

export type { RequestMeterOptions } from './request-usage.ts'

/** As much of Express, Connect or node:http as is used. */
export type ExpressResponseLike = RawResponse & {
  setHeader: (name: string, value: string) => unknown
  end: (body: string) => unknown
}
type Middleware<Request> = (request: Request, response: ExpressResponseLike, next: (error?: unknown) => void) => void

/** A middleware, for a route or for all after it. */
export function meterExpress<Request>(options: RequestMeterOptions<Request>): Middleware<Request> {
  return (request, response, next) => {
    meterRequest(options, request, response).then((refusal) => {
      if (!refusal) return next()
      // Another middleware answered while the decision was on its way, or the client is gone.
      if (response.headersSent || response.destroyed) return
      try {
        response.statusCode = refusal.status
        response.setHeader('content-type', 'application/problem+json')
        response.end(JSON.stringify(refusal.body))
      } catch (error) {
        next(error)
      }
    }, next)
  }
}
