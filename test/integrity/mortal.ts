import { setTimeout as sleep } from 'node:timers/promises'
import type { Exit } from '../support/product.ts'
import type { AskStores } from './ask-stores.ts'
import type { Place, Step } from './steps.ts'

/** Where a test finds the product, embedded or on servers. */
export type Site = {
  url(): string
  /** An operator's. */
  key: string
  ask: AskStores
  /** The file in which the gateway books what it was asked. */
  book: string
}

/** A process of the product that a test lets die, over all its lives. */
export type Mortal = {
  /** It dies when it gets there. */
  arm(place: Place): void
  /** The step at which it was killed; undefined if it died elsewhere. */
  reached(): string | undefined
  /** How this life ends. */
  exited(): Promise<Exit>
  /** The next life; resolves when it is ready. */
  start(): Promise<void>
}

export type Crash = { exit: Exit; reached: string | undefined }

/** A bound against hanging on a step that never comes. */
const NEVER_REACHED_MS = 90_000

/** It is provoked until it dies there. */
export async function dieAt(mortal: Mortal, where: Step | Place, provoke: () => Promise<void>): Promise<Crash> {
  const place = typeof where === 'string' ? { step: where } : where
  mortal.arm(place)
  await provoke()
  const giveUp = new AbortController()
  const late = sleep(NEVER_REACHED_MS, undefined, { signal: giveUp.signal }).then(
    () => {
      throw new Error(`${place.step} was not reached`)
    },
    () => undefined,
  )
  const exit = await Promise.race([mortal.exited(), late])
  giveUp.abort()
  if (!exit) throw new Error('Waiting was given up before its time')
  return { exit, reached: mortal.reached() }
}
