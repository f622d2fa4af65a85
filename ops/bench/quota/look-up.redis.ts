import { Redis } from 'ioredis'
import { ALL_SUBJECTS } from '../events.ts'
import type { LookUp } from './floor-process.ts'

/** The client as it comes. */
export async function openRedisLookUp(url: string): Promise<LookUp> {
  const client = new Redis(url)
  const keyOf = (subject: string) => `bench:used:${subject}`
  for (const subject of ALL_SUBJECTS) await client.set(keyOf(subject), '988000000')
  return {
    get: async (subject) => (await client.get(keyOf(subject))) ?? undefined,
    close: async () => client.disconnect(),
  }
}
