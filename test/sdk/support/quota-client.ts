import type { QuotaOptions } from '../../../sdk/typescript/src/tallyline.ts'
import { clientOf } from './client.ts'
import { quotaModel } from './quota-model.ts'
import type { Script } from './scripted-server.ts'

/** A client on a model of the server with one limit. `around` may spoil answers. */
export function quotaClient(
  limit: number | null,
  quota: QuotaOptions = {},
  around: (script: Script, nowMs: () => number) => Script = (same) => same,
) {
  let nowMs = () => 0
  const model = quotaModel(limit, () => nowMs())
  const client = clientOf(
    around(model.answer, () => nowMs()),
    { quota },
  )
  nowMs = client.clock.monotonicMs
  const { check, decide, consume, giveBack, takeMore } = client.tallyline
  const asked = () => client.sent.filter(({ path }) => path === '/api/v1/quota/leases')
  const returned = () => client.sent.filter(({ path }) => path.endsWith('/return'))
  return { ...client, model, check, decide, consume, giveBack, takeMore, asked, returned }
}
