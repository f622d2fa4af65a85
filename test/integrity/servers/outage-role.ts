import { join } from 'node:path'
import { LENGTHS } from '../../support/lengths.ts'
import { launch, type Product, readyProduct } from '../../support/product.ts'
import { REPOSITORY } from '../../support/source-files.ts'
import type { OutageOrders } from './outage-process.ts'
import type { OutageWorld } from './outage-world.ts'

const ENTRY = join(REPOSITORY, 'test/integrity/servers/outage-process.ts')

/** A role beside those of the rig, which its proxy does not know: with a planted bug, or with a schedule. */
export function startOutageRole(
  { stack, rig }: { stack: Pick<OutageWorld['stack'], 'env'>; rig: Pick<OutageWorld['rig'], 'book'> },
  orders: Omit<OutageOrders, 'book'>,
  other: Record<string, string> = {},
): Promise<Product> {
  const env = {
    ...stack.env,
    ...other,
    KAFKA_SESSION_TIMEOUT_MS: String(LENGTHS.sessionTimeoutMs),
    SEAL_CLOCK_MARGIN_MS: '1000',
    PORT: '0',
    TALLYLINE_OUTAGE: JSON.stringify({ ...orders, book: rig.book }),
  }
  return readyProduct(launch([ENTRY], env))
}
