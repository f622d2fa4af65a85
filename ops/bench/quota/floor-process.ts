import { fastify } from 'fastify'
import { answerParent } from '../child.ts'
import { ownCpuUs } from '../cpu.ts'
import { openLmdbLookUp } from './look-up.lmdb.ts'
import { openRedisLookUp } from './look-up.redis.ts'

export type FloorInput = { /** LMDB when not given. */ redisUrl?: string | undefined; folder: string }
/** One value of a subject, by one look-up. */
export type LookUp = { get(subject: string): Promise<string | undefined>; close(): Promise<void> }

const app = fastify()
let lookUp: LookUp | undefined

/** The floor: Fastify as it comes, one route that parses the same body and looks one value up. */
async function start({ redisUrl, folder }: FloorInput): Promise<string> {
  const opened = redisUrl === undefined ? await openLmdbLookUp(folder) : await openRedisLookUp(redisUrl)
  lookUp = opened
  app.post('/api/v1/quota/check', async ({ body }) => {
    const { checks } = body as { checks: [{ subject: string }] }
    return { used: await opened.get(checks[0].subject) }
  })
  return app.listen({ host: '127.0.0.1', port: 0 })
}

async function stop(): Promise<void> {
  await app.close()
  await lookUp?.close()
}

answerParent({ start: (input) => start(input as FloorInput), cpu: ownCpuUs }, stop)
