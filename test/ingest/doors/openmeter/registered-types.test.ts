import { expect, test } from 'vitest'
import { createRegisteredTypes } from '../../../../ingest/doors/openmeter/registered-types.ts'

/** Answers one by one, when the test says so. */
function slowLook() {
  const asked: { tenant: number; types: readonly string[]; answer: (types: string[]) => void; fail: () => void }[] = []
  const registered = createRegisteredTypes(
    (tenant, types) =>
      new Promise((answer, fail) => {
        asked.push({ tenant, types, answer, fail: () => fail(new Error('Postgres is away')) })
      }),
  )
  return { asked, registered }
}
const settled = () => new Promise((resolve) => setImmediate(resolve))

test('those who come together share a question; those who come while it is asked share the next', async () => {
  const { asked, registered } = slowLook()
  const first = [registered(1, ['a']), registered(1, ['b', 'a'])]
  await settled()
  const second = [registered(1, ['c']), registered(1, ['a'])]
  await settled()
  expect(asked.map(({ types }) => types)).toEqual([['a', 'b']])
  asked[0]!.answer(['b'])
  for (const answer of first) expect([...(await answer)]).toEqual(['b'])
  await settled()
  expect(asked.map(({ types }) => types)).toEqual([
    ['a', 'b'],
    ['c', 'a'],
  ])
  asked[1]!.answer(['a'])
  for (const answer of second) expect([...(await answer)]).toEqual(['a'])
})

test('tenants do not wait for each other, and a question that failed holds up no later one', async () => {
  const { asked, registered } = slowLook()
  const failing = registered(1, ['a'])
  const other = registered(2, ['a'])
  await settled()
  expect(asked.map(({ tenant }) => tenant)).toEqual([1, 2])
  const later = registered(1, ['a'])
  asked[0]!.fail()
  await expect(failing).rejects.toThrow('Postgres is away')
  asked[1]!.answer(['a'])
  expect([...(await other)]).toEqual(['a'])
  await settled()
  asked[2]!.answer([])
  expect([...(await later)]).toEqual([])
})
