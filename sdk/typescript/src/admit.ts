import { microOf } from './micro.ts'
import type { Decision, Tallyline } from './tallyline.ts'

/** What work draws on: checked before it, and corrected after it by what it really took. */
export type Draw<Args extends unknown[], Result> = {
  meter: string
  /** Before the work; 1 when not given. What it throws, and a quantity that is none, keep the work from being done. */
  quantity?: (...args: Args) => number
  /** After it, when it is known only then. What it throws, and a quantity that is none, end in onDead: the estimate stands. */
  actual?: (result: Result) => number
}

/** The quota does not allow the work (`quota_exceeded`), or could not be asked while failing closed (`quota_unavailable`). */
export class QuotaRefused extends Error {
  readonly code: 'quota_exceeded' | 'quota_unavailable'
  readonly decision: Decision
  constructor(subject: string, meter: string, decision: Decision) {
    const unavailable = decision.reason === 'server_away'
    super(unavailable ? `The quota of ${meter} cannot be asked` : `The quota of ${meter} is used up for ${subject}`)
    this.name = 'QuotaRefused'
    this.code = unavailable ? 'quota_unavailable' : 'quota_exceeded'
    this.decision = decision
  }
}

/** Work that was let in. Exactly one of the two is called, once. */
export type Admitted<Result> = {
  hold: string | undefined
  /** The work took what the result says, or what was asked for. */
  done: (result: Result) => void
  /** Nothing was taken. */
  undone: () => void
}

const NOT_DRAWN = { hold: undefined, done: () => undefined, undone: () => undefined }

/**
 * Throws QuotaRefused. Without a draw everything is let in, and work whose `subjectOf` throws: its event says so in onDead.
 */
export async function admit<Args extends unknown[], Result>(
  tallyline: Tallyline,
  draw: Draw<Args, Result> | undefined,
  subjectOf: (...args: Args) => string,
  args: Args,
): Promise<Admitted<Result>> {
  if (!draw) return NOT_DRAWN
  let subject: string
  try {
    subject = subjectOf(...args)
  } catch {
    return NOT_DRAWN
  }
  const { meter } = draw
  const quantity = draw.quantity?.(...args) ?? 1
  const decision = await tallyline.check(subject, meter, quantity)
  if (!decision.allowed) throw new QuotaRefused(subject, meter, decision)
  return {
    hold: decision.hold,
    // The work is done: nothing here may fail it.
    done: (result) => {
      try {
        const actual = draw.actual?.(result) ?? quantity
        microOf(actual)
        // The event takes it all from the lease that it names, and the rest from the limit.
        if (actual > quantity) tallyline.takeMore(decision, subject, meter, actual - quantity)
        if (actual < quantity) tallyline.giveBack(decision, subject, meter, quantity - actual)
      } catch (error) {
        tellDead(tallyline, error)
      }
    },
    undone: () => tallyline.giveBack(decision, subject, meter, quantity),
  }
}

/** What a function of the service threw, told to onDead as an event that could not be made. */
export function tellDead(tallyline: Pick<Tallyline, 'emit'>, error: unknown): void {
  tallyline.emit(() => {
    throw error
  })
}
