import { afterAll, beforeAll, expect, test } from 'vitest'
import { type RedisServer, startRedis } from '../../contract/quota-store.redis-server.ts'
import { COMMAND, launch, newDataFolder, removeDataFolder } from '../../support/product.ts'

/** design.md §2.3, §4.8: Redis is what ingest needs, and ready means that it gets on. */
let server: RedisServer
let folder: string
beforeAll(async () => {
  server = await startRedis()
  folder = newDataFolder()
})
afterAll(async () => {
  await server.close()
  await removeDataFolder(folder)
})

const start = (redisUrl: string) =>
  launch([COMMAND, 'start'], { REDIS_URL: redisUrl, TALLYLINE_DATA: folder, PORT: '0' })

test('a Redis that does not answer ends the start with a sentence that names it, without its password', async () => {
  const product = start('redis://me:s3cret@127.0.0.1:1')
  expect((await product.exited).code).toBe(1)
  expect(product.stderr()).toContain('Redis at 127.0.0.1:1 cannot be used: ')
  expect(product.stderr()).toContain('Check REDIS_URL.')
  expect(product.stderr() + product.stdout()).not.toContain('s3cret')
})

test('one that goes away later makes the role not ready, until it is back', async () => {
  const product = start(server.url)
  const url = await product.printed(/(http:\/\/127\.0\.0\.1:\d+)/)
  const readiness = async () => {
    const answer = await fetch(`${url}/readyz`)
    const { checks } = (await answer.json()) as { checks: { name: string; ok: boolean }[] }
    return `${answer.status} ${checks.find(({ name }) => name === 'quota counters')?.ok}`
  }
  await expect.poll(readiness, { timeout: 60_000 }).toBe('200 true')
  await server.kill()
  await expect.poll(readiness, { timeout: 60_000 }).toBe('503 false')
  await server.start()
  await expect.poll(readiness, { timeout: 60_000 }).toBe('200 true')
  await product.stop('SIGTERM')
})
