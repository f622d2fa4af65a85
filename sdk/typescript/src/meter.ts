import { admit, type Draw } from './admit.ts'
import type { Tallyline } from './tallyline.ts'

export { type Draw, QuotaRefused } from './admit.ts'

export type Outcome<Args extends unknown[], Result> =
  | { ok: true; args: Args; result: Result; durationMs: number }
  | { ok: false; args: Args; error: unknown; durationMs: number }

export type MeterOptions<Args extends unknown[], Result> = {
  type: string
  subject: (...args: Args) => string
  data: (outcome: Outcome<Args, Result>) => object
  /** Which calls are told; those that succeed, unless told otherwise. */
  on?: 'success' | 'failure' | 'both'
  /** Checked before; a call that is refused fails with QuotaRefused and is not made. */
  draw?: Draw<Args, Result>
}

/**
 * The function, with an event for each call. What `subject`, `data` or `draw.actual` throw ends in onDead, never in the
 * call.
 */
export function meter<Args extends unknown[], Result>(
  tallyline: Tallyline,
  work: (...args: Args) => Result | Promise<Result>,
  options: MeterOptions<Args, Result>,
): (...args: Args) => Promise<Result> {
  const { type, subject, data, on = 'success', draw } = options
  return async (...args) => {
    const admitted = await admit(tallyline, draw, subject, args)
    const startMs = performance.now()
    const tell = (outcome: Outcome<Args, Result>) => {
      const wanted = on === 'both' || on === (outcome.ok ? 'success' : 'failure')
      if (!wanted) return admitted.undone()
      tallyline.emit(() => ({ type, hold: admitted.hold, subject: subject(...args), data: data(outcome) }))
      if (outcome.ok) admitted.done(outcome.result)
    }
    let result: Result
    try {
      result = await work(...args)
    } catch (error) {
      tell({ ok: false, args, error, durationMs: performance.now() - startMs })
      throw error
    }
    tell({ ok: true, args, result, durationMs: performance.now() - startMs })
    return result
  }
}
