import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROLES, type Role } from '../../../ops/cli/settings.ts'
import { type Exit, launch, type Product, readyProduct } from '../../support/product.ts'
import { ENTRY } from '../kill-nine.ts'
import { arm, hold, type Place, reached, release, type Step, type TestOrders } from '../steps.ts'

/** One role in a process of its own, over all its lives. */
export type RoleProcess = {
  name: string
  role: Role
  /** Of this life; undefined while there is none that is ready. */
  url(): string | undefined
  pid(): number
  stderr(): string
  /** A life: resolves when it is ready. Orders stay those of the first. */
  start(): Promise<void>
  /** The same, after the end of the life before. */
  restart(): Promise<void>
  /** How this life ends. */
  exited(): Promise<Exit>
  /** kill -9; resolves when it is gone. */
  crash(): Promise<void>
  /** As an operator stops it. */
  stop(): Promise<Exit>
  /** SIGSTOP: it lives and does nothing. */
  freeze(): void
  /** SIGCONT. */
  thaw(): void
  frozen(): boolean
  /** It dies when it gets there. */
  arm(place: Place): void
  /** It waits at the step of a billing run, until it is released or held elsewhere. */
  hold(step: Step): void
  release(): void
  /** The step at which it was killed or waits; undefined if it died elsewhere. */
  reached(): string | undefined
  /** Ends it and removes what tells it where to die. */
  remove(): Promise<void>
}

/** `aggregator-2` runs the aggregator. */
function roleOf(name: string): Role {
  const role = ROLES.find((one) => name.startsWith(`${one}-`))
  if (!role) throw new Error(`${name} names no role: call it like aggregator-1`)
  return role
}

export function createRoleProcess(
  name: string,
  env: Record<string, string>,
  orders: Omit<TestOrders, 'control' | 'roles'>,
): RoleProcess {
  const role = roleOf(name)
  const control = mkdtempSync(join(tmpdir(), `tallyline-${name}-`))
  const ordered: TestOrders = { ...orders, control, roles: [role] }
  let launched: ReturnType<typeof launch> | undefined
  let ready: Product | undefined
  let frozen = false
  const life = () => {
    if (!launched) throw new Error(`${name} was not started`)
    return launched
  }
  const start = async () => {
    const born = launch([ENTRY], { ...env, TALLYLINE_TEST: JSON.stringify(ordered) })
    launched = born
    frozen = false
    void born.exited.then(() => {
      if (launched === born) ready = undefined
    })
    const product = await readyProduct(born)
    if (launched === born) ready = product
  }
  return {
    name,
    role,
    url: () => ready?.url,
    pid: () => life().pid,
    stderr: () => life().stderr(),
    start,
    restart: async () => {
      await launched?.stop()
      await start()
    },
    exited: () => life().exited,
    crash: () => life().crash(),
    stop: () => life().stop(),
    freeze: () => {
      process.kill(life().pid, 'SIGSTOP')
      frozen = true
    },
    thaw: () => {
      process.kill(life().pid, 'SIGCONT')
      frozen = false
    },
    frozen: () => frozen,
    arm: (place) => arm(control, place),
    hold: (step) => hold(control, step),
    release: () => release(control),
    reached: () => reached(control),
    remove: async () => {
      await launched?.crash()
      rmSync(control, { recursive: true, force: true })
    },
  }
}
