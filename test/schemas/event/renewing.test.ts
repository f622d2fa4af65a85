import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { renewing } from '../../../schemas/event/renewing.kafka.ts'

type FakeClient = { name: number; connect(): Promise<void>; disconnect(): Promise<void> }

/** Clients numbered from 0; `connects` says how the connecting of each ends. */
function clients(connects: (name: number) => Promise<void> = async () => undefined) {
  const disconnected: number[] = []
  let opened = 0
  const open = (): FakeClient => {
    const name = opened++
    return {
      name,
      connect: () => connects(name),
      disconnect: async () => {
        disconnected.push(name)
      },
    }
  }
  return { open, disconnected, opened: () => opened }
}

const never = () => new Promise<never>(() => undefined)
const nameOf = async ({ name }: FakeClient) => name

test('one client serves all work while it answers, also after an error', async () => {
  const { open, opened } = clients()
  const some = renewing(open)
  await some.connect()
  expect(await Promise.all([some.use(5_000, nameOf), some.use(5_000, nameOf)])).toEqual([0, 0])
  await expect(some.use(5_000, () => Promise.reject(new Error('refused')))).rejects.toThrow('refused')
  expect(await some.use(5_000, nameOf)).toBe(0)
  expect(opened()).toBe(1)
})

test('work that is late rejects, and the next work gets a new client', async () => {
  const { open } = clients()
  const some = renewing(open)
  await expect(some.use(20, never)).rejects.toThrow('Kafka did not answer within 20 ms')
  expect(await some.use(5_000, nameOf)).toBe(1)
})

test('many that are late together cost one new client', async () => {
  const { open, opened } = clients()
  const some = renewing(open)
  await Promise.allSettled([some.use(20, never), some.use(25, never), some.use(30, never)])
  expect(await some.use(5_000, nameOf)).toBe(1)
  expect(opened()).toBe(2)
})

test('a client that was left is disconnected at once; when its last work has really ended is told', async () => {
  const { open, disconnected } = clients()
  const some = renewing(open)
  let finish = () => {}
  const work = () =>
    new Promise<void>((resolve) => {
      finish = resolve
    })
  let ended = 0
  const count = () => {
    ended++
  }
  await expect(some.use(20, work, count)).rejects.toThrow('did not answer')
  await some.use(5_000, nameOf)
  expect([disconnected, ended]).toEqual([[0], 0])
  finish()
  await sleep(1)
  expect([disconnected, ended]).toEqual([[0], 1])
})

test('one that cannot connect fails what waits for it, and is tried anew by the next', async () => {
  const { open } = clients(async (name) => {
    if (name === 0) throw new Error('away')
  })
  const some = renewing(open)
  let ended = 0
  const count = () => {
    ended++
  }
  await expect(some.use(5_000, nameOf, count)).rejects.toThrow('away')
  expect(ended).toBe(1)
  expect(await some.use(5_000, nameOf)).toBe(1)
})

test('while one is connecting no other is opened, however many are late', async () => {
  const { open, opened } = clients(never)
  const some = renewing(open)
  for (let n = 0; n < 5; n++) await expect(some.use(5, nameOf)).rejects.toThrow('did not answer')
  expect(opened()).toBe(1)
})

test('closing disconnects; without a client there is nothing to do', async () => {
  const { open, disconnected } = clients()
  const some = renewing(open)
  await some.close()
  await some.connect()
  await some.close()
  expect(disconnected).toEqual([0])
})
