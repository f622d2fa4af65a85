import { formatMicro } from '../limit.ts'
import type { Difference } from './reconciler.ts'

/** A difference as it is told: quantities as decimal texts, times in ISO 8601. `difference` above 0: too high. */
export type Told = {
  subject?: string
  customer?: string
  meter: string
  starts_at: string
  ends_at: string
  counter: string | null
  usage: string
  held: string
  difference: string | null
}

export function toldOf({ counter, usedMicro, usageMicro, heldMicro, driftMicro }: Difference): Told {
  const { subject, ofCustomer, meter, startMs, endMs } = counter
  return {
    ...(ofCustomer ? { customer: subject } : { subject }),
    meter,
    starts_at: new Date(startMs).toISOString(),
    ends_at: new Date(endMs).toISOString(),
    counter: usedMicro === undefined ? null : formatMicro(usedMicro),
    usage: formatMicro(usageMicro),
    held: formatMicro(heldMicro),
    difference: usedMicro === undefined ? null : signed(driftMicro),
  }
}

function signed(micro: bigint): string {
  return micro < 0n ? `-${formatMicro(-micro)}` : formatMicro(micro)
}
