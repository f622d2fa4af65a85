import fc from 'fast-check'
import { expect, test } from 'vitest'
import { clientOf } from './support/client.ts'
import { outcomes, type Scripted, type Sent } from './support/scripted-server.ts'

const OUTCOMES = ['accepted', 'duplicate', 'rejected', 'quota_exceeded', 'failed']
const WHOLE: Scripted[] = [
  { status: 500 },
  { status: 503, headers: { 'retry-after': '1' } },
  { status: 429 },
  { status: 400 },
  { status: 400, body: { code: 'invalid_json' } },
  { status: 401 },
  { status: 413 },
  { status: 200, body: 'login page' },
]
/** What the server does with the nth request: goes away, answers as a whole, or by outcomes drawn from a list. */
const move = fc.oneof(
  fc.constant('away' as const),
  fc.constantFrom(...WHOLE),
  fc.array(fc.constantFrom(...OUTCOMES), { minLength: 1, maxLength: 6 }),
)

/** Design §4.4, on the emitter's side: every event ends in exactly one outcome, whatever the server does meanwhile. */
test('every event is answered for once, with the bytes it was emitted with', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(move, { maxLength: 12 }),
      fc.array(fc.nat(9), { maxLength: 6 }),
      async (moves, bursts) => {
        const done = new Map<string, string[]>()
        const texts = new Map<string, Set<string>>()
        const script = ({ ids, body }: Sent, index: number): Scripted => {
          for (const event of body as { id: string }[]) {
            texts.set(event.id, (texts.get(event.id) ?? new Set()).add(JSON.stringify(event)))
          }
          const now = moves[index] ?? ['accepted']
          if (now === 'away') throw new TypeError('fetch failed')
          if (!Array.isArray(now)) return now
          const drawn = ids.map((_, n) => now[n % now.length] ?? 'accepted')
          for (const [n, id] of ids.entries()) {
            if (drawn[n] === 'accepted' || drawn[n] === 'duplicate') done.set(id, [...(done.get(id) ?? []), 'taken'])
          }
          return outcomes(202, drawn)
        }
        const { clock, emit, dead, tallyline } = clientOf(script, {
          batchEvents: 4,
          maxWaitingEvents: 20,
          refusedTries: 2,
          refusedForMs: 0,
        })
        const ids: string[] = []
        for (const burst of bursts) {
          ids.push(...emit(burst).filter((id) => id !== 'not taken'))
          await clock.pass(300)
          const { emitted, accepted, duplicates, dead: died, dropped, waiting } = tallyline.stats()
          expect(emitted).toBe(accepted + duplicates + died + dropped + waiting)
          expect(waiting).toBeLessThanOrEqual(20)
        }
        await clock.pass(600_000)
        for (const { id } of dead) done.set(id ?? '', [...(done.get(id ?? '') ?? []), 'dead'])
        expect([...done.keys()].sort()).toEqual([...ids].sort())
        expect([...done.values()].every((ends) => ends.length === 1)).toBe(true)
        expect([...texts.values()].every((forms) => forms.size === 1)).toBe(true)
        expect(tallyline.stats()).toMatchObject({ waiting: 0, bytes: 0 })
      },
    ),
    { numRuns: 150 },
  )
})
