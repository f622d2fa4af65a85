import { describe, expect, test } from 'vitest'
import { meter, QuotaRefused } from '../../sdk/typescript/src/meter.ts'
import { clientOf } from './support/client.ts'
import { quotaModel } from './support/quota-model.ts'

const SUBJECT = (name: string) => name

function limited(limit: number) {
  const model = quotaModel(limit, () => 0)
  return { ...clientOf(model.answer), model }
}
const events = ({ sent }: ReturnType<typeof clientOf>) =>
  sent.filter(({ path }) => path === '/api/v1/events').flatMap(({ body }) => body as Record<string, unknown>[])

/** Issue 6: the `meter(fn)` wrapper emits after success, or on failure as told. */
describe('meter', () => {
  const work = async (_name: string, n: number) => {
    if (n < 0) throw new RangeError('negative')
    return n * 2
  }

  test('a call that succeeds is told with its arguments and result; one that fails only throws', async () => {
    const client = clientOf()
    const metered = meter(client.tallyline, work, {
      type: 'work',
      subject: SUBJECT,
      data: (outcome) => ({ n: outcome.args[1], result: outcome.ok ? outcome.result : null }),
    })
    expect(await metered('customer-1', 4)).toBe(8)
    await expect(metered('customer-1', -1)).rejects.toThrow('negative')
    await client.clock.pass(200)
    expect(events(client)).toMatchObject([{ type: 'work', subject: 'customer-1', data: { n: 4, result: 8 } }])
  })

  test('failures are told when asked for', async () => {
    const client = clientOf()
    const data = (outcome: { ok: boolean }) => ({ ok: outcome.ok })
    for (const on of ['failure', 'both'] as const) {
      const metered = meter(client.tallyline, work, { type: on, subject: SUBJECT, data, on })
      await metered('customer-1', 1)
      await metered('customer-1', -1).catch(() => undefined)
    }
    await client.clock.pass(200)
    expect(events(client).map(({ type, data }) => ({ type, data }))).toEqual([
      { type: 'failure', data: { ok: false } },
      { type: 'both', data: { ok: true } },
      { type: 'both', data: { ok: false } },
    ])
  })

  test('an error in data does not reach the caller, but onDead', async () => {
    const client = clientOf()
    const data = () => {
      throw new Error('mine')
    }
    const metered = meter(client.tallyline, work, { type: 'work', subject: SUBJECT, data })
    expect(await metered('customer-1', 4)).toBe(8)
    expect(client.dead).toMatchObject([{ code: 'invalid_event', message: 'mine' }])
  })

  test('a call that the quota refuses is not made; one that fails draws nothing', async () => {
    const client = limited(10)
    let calls = 0
    const counted = async (name: string, n: number) => {
      calls++
      return work(name, n)
    }
    const metered = meter(client.tallyline, counted, {
      type: 'work',
      subject: SUBJECT,
      data: ({ args }) => ({ quantity: args[1] }),
      draw: { meter: 'work', quantity: (_name, n) => Math.abs(n) },
    })
    await expect(metered('customer-1', -10)).rejects.toThrow('negative')
    expect(await metered('customer-1', 10)).toBe(20)
    const refused = await metered('customer-1', 1).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(QuotaRefused)
    expect(refused).toMatchObject({ code: 'quota_exceeded', message: 'The quota of work is used up for customer-1' })
    expect(calls).toBe(2)
    await client.clock.pass(200)
    expect(events(client)).toMatchObject([{ tallyhold: expect.stringMatching(/^lease-/) }])
    expect(client.model.counter()).toBe(10)
  })

  test('an estimate is corrected by what it took', async () => {
    const client = limited(10)
    const metered = meter(client.tallyline, async (_name: string, n: number) => n, {
      type: 'work',
      subject: SUBJECT,
      data: ({ args }) => ({ quantity: args[1] }),
      draw: { meter: 'work', quantity: () => 8, actual: (took) => took },
    })
    await metered('customer-1', 2)
    await metered('customer-1', 8)
    expect((await client.tallyline.check('customer-1', 'work')).allowed).toBe(false)
  })

  test.each([
    ['throws', () => JSON.parse('no json')],
    ['is no number', () => Number.NaN],
    ['is endless', () => Number.POSITIVE_INFINITY],
    ['is negative', () => -4],
  ])('an `actual` that %s fails no finished work: it ends in onDead, and the estimate stands', async (_how, actual) => {
    const client = limited(10)
    const metered = meter(client.tallyline, async (_name: string, n: number) => n, {
      type: 'work',
      subject: SUBJECT,
      data: ({ args }) => ({ quantity: args[1] }),
      draw: { meter: 'work', quantity: () => 8, actual },
    })
    expect(await metered('customer-1', 8)).toBe(8)
    expect(client.dead).toMatchObject([{ code: 'invalid_event' }])
    expect((await client.tallyline.check('customer-1', 'work', 3)).allowed).toBe(false)
    expect((await client.tallyline.check('customer-1', 'work', 2)).allowed).toBe(true)
    await client.clock.pass(200)
    expect(events(client)).toHaveLength(1)
  })

  test('an error in subject does not reach the caller either, but onDead, once', async () => {
    const client = limited(10)
    const subject = () => {
      throw new Error('who?')
    }
    const draw = { meter: 'work' }
    const metered = meter(client.tallyline, work, { type: 'work', subject, data: () => ({}), draw })
    expect(await metered('customer-1', 4)).toBe(8)
    expect(client.dead).toMatchObject([{ code: 'invalid_event', message: 'who?' }])
  })

  test('a quantity that is none keeps the call from being made', async () => {
    const client = limited(10)
    const draw = { meter: 'work', quantity: () => Number.NaN }
    const metered = meter(client.tallyline, work, { type: 'work', subject: SUBJECT, data: () => ({}), draw })
    await expect(metered('customer-1', 4)).rejects.toThrow(RangeError)
  })

  test('what a call took beyond its estimate is taken from the lease that its event names', async () => {
    const client = limited(20)
    const { check, decide } = client.tallyline
    const metered = meter(client.tallyline, async (_name: string, took: number) => took, {
      type: 'work',
      subject: SUBJECT,
      data: ({ args }) => ({ quantity: args[1] }),
      draw: { meter: 'work', quantity: () => 6, actual: (took) => took },
    })
    const first = await check('customer-1', 'work', 8)
    await client.clock.pass(0)
    // Two are left in the first lease, eight in the next, which pays for it all.
    await metered('customer-1', 8)
    expect(decide('customer-1', 'work', 2)?.hold).toBe(first.hold)
    await client.clock.pass(200)
    expect(events(client)).toMatchObject([{ tallyhold: expect.stringMatching(/^lease-/), data: { quantity: 8 } }])
    expect(events(client)[0]?.tallyhold).not.toBe(first.hold)
  })

  test('when the server is away and the client fails closed, the error says so', async () => {
    const { tallyline } = clientOf(() => ({ status: 503 }), { quota: { whenAway: 'closed' } })
    const metered = meter(tallyline, work, {
      type: 'work',
      subject: SUBJECT,
      data: () => ({}),
      draw: { meter: 'work' },
    })
    await expect(metered('customer-1', 1)).rejects.toMatchObject({ code: 'quota_unavailable' })
  })
})
