import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { CounterKey, QuotaDraw, QuotaItem } from '../../ingest/quota/quota-store.ts'
import type { OpenQuotaStore } from './quota-store.ts'

const DAY_MS = 86_400_000
let tenants = 0
let identities = 0

/** A counter that nothing used before: every test has its own tenant. */
export function newCounter(changes: Partial<CounterKey> = {}): CounterKey {
  return { tenant: ++tenants, subject: 'alice', meter: 'calls', startMs: 0, endMs: DAY_MS, ...changes }
}

export function draw(counter: CounterKey, micro: bigint, limitMicro: bigint): QuotaDraw {
  // As in a request, where every event brings its own object.
  return { counter: { ...counter }, micro, limitMicro }
}

export function item(...draws: QuotaDraw[]): QuotaItem {
  return { identity: `${draws[0]?.counter.tenant}\ntest\n${++identities}`, draws }
}

/** The ends of what may be asked: large numbers, odd names, full requests, many at once. `open` gives an empty store. */
export function describeQuotaStoreExtremes(name: string, open: () => Promise<OpenQuotaStore>): void {
  describe(`quota store, extremes: ${name}`, () => {
    let opened: OpenQuotaStore
    beforeAll(async () => {
      opened = await open()
    })
    afterAll(() => opened?.close())
    const drawAll = (items: QuotaItem[], enforce = true) => opened.store.draw(items, Date.now(), enforce)
    const decisions = async (items: QuotaItem[], enforce = true) => {
      const answer = await drawAll(items, enforce)
      if ('missing' in answer) throw new Error(`missing: ${JSON.stringify(answer.missing)}`)
      return answer.decisions
    }
    const load = (counter: CounterKey, micro = 0n) => opened.store.load([{ counter, usedMicro: micro }], Date.now())
    const loaded = async (micro = 0n) => {
      const counter = newCounter()
      await load(counter, micro)
      return counter
    }
    /** What is left below a limit of 1,000, without changing it. */
    const left = async (counter: CounterKey) => (await decisions([item(draw(counter, 0n, 1_000n))]))[0]?.remainingMicro

    const edges = [15, 28, 31].map((digits) => 10n ** BigInt(digits))
    test.each([2n ** 53n, 2n ** 63n, 2n ** 64n, ...edges, 10n ** 32n])(
      'a limit of %s is exact to one micro-unit',
      async (limit) => {
        const counter = await loaded(limit - 3n)
        const one = () => item(draw(counter, 1n, limit))
        expect(await decisions([one(), one(), one(), one()])).toMatchObject([
          { taken: true, remainingMicro: 2n },
          { taken: true, remainingMicro: 1n },
          { taken: true, remainingMicro: 0n },
          { taken: false, remainingMicro: 0n },
        ])
        expect(await decisions([item(draw(counter, limit, limit))])).toMatchObject([{ taken: false }])
        const twice = await decisions([item(draw(counter, limit, 2n * limit))])
        expect(twice).toMatchObject([{ taken: true, remainingMicro: 0n }])
      },
    )

    test('the largest quantities add up exactly beyond a limit too, and are given back exactly', async () => {
      const counter = await loaded()
      const largest = 10n ** 32n - 1n
      const items = Array.from({ length: 1_000 }, () => item(draw(counter, largest, 10n)))
      await decisions(items, false)
      const sum = 1_000n * largest
      expect(await decisions([item(draw(counter, 1n, sum))])).toMatchObject([{ taken: false }])
      expect(await decisions([item(draw(counter, 1n, sum + 7n))])).toMatchObject([{ taken: true, remainingMicro: 6n }])
      await opened.store.giveBack(items)
      expect(await left(counter)).toBe(999n)
    })

    test('of a limit of nothing only nothing is taken', async () => {
      const counter = await loaded()
      expect(await decisions([item(draw(counter, 1n, 0n)), item(draw(counter, 0n, 0n))])).toMatchObject([
        { taken: false, remainingMicro: 0n },
        { taken: true, remainingMicro: 0n },
      ])
    })

    test('subjects are apart, whatever they are called', async () => {
      const { tenant } = newCounter()
      const names = [
        'alice',
        'Alice',
        'alice ',
        'a:lice',
        'calls:alice',
        '{alice}',
        '}{',
        '{1}',
        '*',
        'Zoë 🛰',
        'Zoe\u0308',
      ]
      const counters = names.map((subject) => newCounter({ tenant, subject }))
      for (const [used, counter] of counters.entries()) {
        expect(await drawAll([item(draw(counter, 1n, 1n))])).toEqual({ missing: [counter] })
        await load(counter, BigInt(used))
      }
      for (const [used, counter] of counters.entries()) expect(await left(counter)).toBe(1_000n - BigInt(used))
    })

    test('many are given back at once, and to a counter that is not there nothing', async () => {
      const counter = await loaded()
      const items = Array.from({ length: 50 }, () => item(draw(counter, 20n, 1_000n)))
      await decisions(items)
      await opened.store.giveBack(items)
      expect(await left(counter)).toBe(1_000n)
      const absent = newCounter()
      await opened.store.giveBack([item(draw(absent, 20n, 1_000n))])
      expect(await drawAll([item(draw(absent, 1n, 1n))])).toEqual({ missing: [absent] })
    })

    test('requests at the same time take exactly the limit', async () => {
      const counter = await loaded()
      const pair = () => [item(draw(counter, 7n, 1_000n)), item(draw(counter, 3n, 1_000n))]
      const answers = await Promise.all(Array.from({ length: 300 }, () => decisions(pair())))
      const taken = answers.reduce((sum, [seven, three]) => sum + (seven?.taken ? 7 : 0) + (three?.taken ? 3 : 0), 0)
      expect(taken).toBe(1_000)
      expect(await left(counter)).toBe(0n)
    })

    test('a request may be empty, or as full as the door lets it be', async () => {
      expect(await drawAll([])).toEqual({ decisions: [] })
      const { tenant } = newCounter()
      const counters = Array.from({ length: 5_000 }, (_, index) => newCounter({ tenant, subject: `s${index}` }))
      const items = counters.flatMap((counter) => [
        item(draw(counter, 600n, 1_000n)),
        item(draw(counter, 600n, 1_000n)),
      ])
      // Numbers are compared here, because the difference of two such lists would take minutes to print.
      const absent = await drawAll(items)
      expect('missing' in absent && new Set(absent.missing.map(({ subject }) => subject)).size).toBe(5_000)
      expect('missing' in absent && absent.missing.length).toBe(5_000)
      await Promise.all(counters.map((counter) => load(counter)))
      const answer = await decisions(items)
      const wrong = answer.filter((one, index) => one.remainingMicro !== 400n || one.taken !== (index % 2 === 0))
      expect([answer.length, wrong.length]).toEqual([10_000, 0])
    })
  })
}
