import { setTimeout as sleep } from 'node:timers/promises'
import type { DeadLetter } from '../../../sdk/typescript/src/event.ts'
import type { Full } from '../../../sdk/typescript/src/settings.ts'
import { createTallyline, type Tallyline, type TallylineOptions } from '../../../sdk/typescript/src/tallyline.ts'
import { type Script, type Sent, scriptedServer } from './scripted-server.ts'
import { type VirtualClock, virtualClock } from './virtual-clock.ts'

export type Client = {
  tallyline: Tallyline
  clock: VirtualClock
  sent: Sent[]
  dead: DeadLetter[]
  full: Full[]
  /** Emits events of small data and returns their ids. */
  emit: (count?: number) => string[]
}

/** A client on a virtual clock and a scripted server; retries wait as long as they may. */
export function clientOf(script?: Script, options: Partial<TallylineOptions> = {}): Client {
  const clock = virtualClock()
  const { fetch, sent } = scriptedServer(script)
  const dead: DeadLetter[] = []
  const full: Full[] = []
  const tallyline = createTallyline({
    url: 'http://server.test/',
    key: 'tly_test',
    fetch,
    clock,
    random: () => 1,
    // Another thread's time is not the virtual clock's.
    gzipFromBytes: 1e9,
    onDead: (letter) => dead.push(letter),
    onFull: (told) => full.push(told),
    ...options,
  })
  const emit = (count = 1) =>
    Array.from({ length: count }, (_, n) => {
      return tallyline.emit({ type: 'llm.request', subject: `customer-${n}`, data: { tokens: n } }) ?? 'not taken'
    })
  return { tallyline, clock, sent, dead, full, emit }
}

/** Lets the disk and the virtual clock go on together until it is so. */
export async function until({ clock }: Client, isSo: () => boolean): Promise<void> {
  const giveUpMs = performance.now() + 60_000
  while (!isSo()) {
    if (performance.now() > giveUpMs) throw new Error('it did not become so')
    await clock.pass(20)
    await sleep(1)
  }
}
