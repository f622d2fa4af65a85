import { type Admitted, admit, QuotaRefused, tellDead } from './admit.ts'
import type { Tallyline } from './tallyline.ts'

/** As much of a response of node:http as is used; those of Fastify and Express wrap one. */
export type RawResponse = {
  statusCode: number
  readonly writableFinished: boolean
  readonly headersSent: boolean
  readonly destroyed: boolean
  once: (event: 'close', listener: () => void) => unknown
}

export type RequestMeterOptions<Request> = {
  tallyline: Tallyline
  type: string
  /** undefined: this request is not metered. */
  subject: (request: Request) => string | undefined
  data: (request: Request, answer: { statusCode: number; durationMs: number }) => object
  /** The meter that is checked before; without one nothing is refused. */
  meter?: string
  quantity?: (request: Request) => number
  /** Which answers count: those below 400, unless told otherwise. What it throws ends in onDead; the request counts not. */
  counts?: (statusCode: number) => boolean
}

export type Refusal = {
  status: 429 | 503
  body: { type: string; title: string; status: number; code: string; detail: string }
}

/**
 * Checks before the request is worked on, and emits when its answer is out. A request that is refused, fails or loses its
 * client takes nothing from the quota. Returns why the request is refused. What `subject` and `quantity` throw is thrown.
 */
export async function meterRequest<Request>(
  options: RequestMeterOptions<Request>,
  request: Request,
  response: RawResponse,
): Promise<Refusal | undefined> {
  const { tallyline, type, counts = (status) => status < 400, data, meter, quantity } = options
  const subject = options.subject(request)
  if (subject === undefined) return undefined
  const draw = meter === undefined ? undefined : { meter, ...(quantity ? { quantity } : {}) }
  let admitted: Admitted<unknown>
  try {
    admitted = await admit(tallyline, draw, () => subject, [request])
  } catch (error) {
    if (error instanceof QuotaRefused) return refusalOf(error)
    throw error
  }
  // The client did not wait for the decision.
  if (response.destroyed) {
    admitted.undone()
    return undefined
  }
  const startMs = performance.now()
  response.once('close', () => {
    const { statusCode, writableFinished } = response
    const durationMs = performance.now() - startMs
    let isCounted = false
    try {
      isCounted = writableFinished && counts(statusCode)
    } catch (error) {
      tellDead(tallyline, error)
    }
    if (!isCounted) return admitted.undone()
    tallyline.emit(() => ({ type, subject, hold: admitted.hold, data: data(request, { statusCode, durationMs }) }))
  })
  return undefined
}

function refusalOf({ code, message }: QuotaRefused): Refusal {
  const status = code === 'quota_exceeded' ? 429 : 503
  const title = code === 'quota_exceeded' ? 'The quota is used up' : 'The quota cannot be asked'
  return { status, body: { type: `https://tallyline.dev/problems/${code}`, title, status, code, detail: message } }
}
