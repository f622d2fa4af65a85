import { setTimeout as sleep } from 'node:timers/promises'
import { openSpool } from '../../../sdk/typescript/src/spool.ts'
import { createTallyline } from '../../../sdk/typescript/src/tallyline.ts'

// Emits without end; after each flush() it prints the ids that this said are durable.
const [url = '', folder = ''] = process.argv.slice(2)
const spool = await openSpool({ folder, segmentBytes: 20_000, syncEveryMs: 5 })
const tallyline = createTallyline({ url, key: 'tly_test', spool, lingerMs: 5, maxWaitingEvents: 300 })

for (let round = 0; ; round++) {
  const ids = Array.from({ length: 1 + (round % 40) }, (_, n) => {
    return tallyline.emit({ type: 'llm.request', subject: `customer-${n}`, data: { round, pid: process.pid } })
  })
  const { durable, waiting, acknowledged } = await tallyline.flush()
  if (durable >= acknowledged + waiting) process.stdout.write(`durable ${ids.join()}\n`)
  await sleep(1)
}
