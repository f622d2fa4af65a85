import { createHash } from 'node:crypto'
import { ReplyError } from 'ioredis'
import { Problem } from '../../schemas/http/problem.ts'
import type { RedisClient } from './open.redis.ts'

export type Script = { text: string; sha: string }

export function scriptOf(text: string): Script {
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}

/** One round trip; a second one when the server has lost the script, which EVAL makes it remember. */
export async function runScript(client: RedisClient, script: Script, keys: string[], args: string[]): Promise<unknown> {
  return orUnavailable(
    client.evalsha(script.sha, keys.length, ...keys, ...args).catch((error: unknown) => {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
      return client.eval(script.text, keys.length, ...keys, ...args)
    }),
  )
}

/** Whatever Redis refuses or does not answer, the sender loses nothing by sending it again: marks prevent a second draw. */
export async function orUnavailable<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (cause) {
    throw new Problem('unavailable', 'The quota store does not answer: try again', { retryAfterSeconds: 1, cause })
  }
}

/** Redis answered, and refused what was asked: another question may go well. */
export function isRefusal(error: unknown): boolean {
  return error instanceof Problem && error.cause instanceof ReplyError
}
