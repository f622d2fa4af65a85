import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import type { UsageReader } from '../usage.ts'
import type { Seal } from './billing-run.ts'

/**
 * Σ rollups = sealed quantity (design §4.6): what will be billed is read from the same rows as these totals, so if they
 * are those of the seal, nothing is missing and nothing counts twice. Nothing is issued before it.
 * @throws Problem calculation_failed when they differ. The run stays as it is, and looks again when it is continued.
 */
export async function checkSeal(usage: UsageReader, tenantId: TenantId, seal: Seal): Promise<void> {
  const { events, digest } = await usage.identityTotals(tenantId, new Date(seal.knownBeforeMs))
  if (events === seal.eventCount && digest === BigInt(seal.digest)) return
  const difference =
    events === seal.eventCount
      ? `its ${events} events are others`
      : `it has ${events} events, the seal ${seal.eventCount}`
  throw new Problem(
    'calculation_failed',
    `The usage store does not hold what was sealed: ${difference}. Nothing was billed; the run will be continued.`,
  )
}
