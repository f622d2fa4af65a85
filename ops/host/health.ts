import type { Logger } from 'pino'
import { Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'

/** Ready means progress, not an open port: a check says whether its part gets on with its work. */
export type Check = () => Promise<{ ok: boolean; detail?: string }>
export type NamedCheck = { name: string; check: Check }
type CheckResult = { name: string; ok: boolean; detail?: string }

const CHECK_TIMEOUT_MS = 2_000

const Health = Type.Object({ status: Type.String() }, { examples: [{ status: 'ok' }] })
const Readiness = Type.Object(
  {
    status: Type.String(),
    checks: Type.Array(Type.Object({ name: Type.String(), ok: Type.Boolean(), detail: Type.Optional(Type.String()) })),
  },
  { examples: [{ status: 'ok', checks: [{ name: 'pump', ok: true, detail: 'lag 0' }] }] },
)

export type HealthDeps = { checks: readonly NamedCheck[]; logger: Logger; timeoutMs?: number }

/** GET /healthz answers while the process lives; GET /readyz 200 when every check passes, else 503 with the list. */
export function serveHealth(app: App, deps: HealthDeps): void {
  app.get(
    '/healthz',
    {
      config: { permission: 'public' },
      schema: { summary: 'The process lives.', response: { 200: Health } },
    },
    async () => ({ status: 'ok' }),
  )
  // Anybody may ask, so askers share one round of checks: many of them cannot load the stores.
  let round: Promise<CheckResult[]> | undefined
  app.get(
    '/readyz',
    {
      config: { permission: 'public' },
      schema: { summary: 'Every part makes progress.', response: { 200: Readiness, 503: Readiness } },
    },
    async (_request, reply) => {
      round ??= Promise.all(deps.checks.map((one) => runCheck(one, deps))).finally(() => {
        round = undefined
      })
      const checks = await round
      const ok = checks.every((check) => check.ok)
      return reply.code(ok ? 200 : 503).send({ status: ok ? 'ok' : 'unavailable', checks })
    },
  )
}

async function runCheck({ name, check }: NamedCheck, deps: HealthDeps): Promise<CheckResult> {
  const timeoutMs = deps.timeoutMs ?? CHECK_TIMEOUT_MS
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<{ ok: boolean; detail: string }>((done) => {
    timer = setTimeout(() => done({ ok: false, detail: `no answer within ${timeoutMs} ms` }), timeoutMs)
  })
  try {
    return { name, ...(await Promise.race([check(), late])) }
  } catch (error) {
    // The answer is public; the reason is in the log.
    deps.logger.warn({ error, check: name }, 'readiness check failed')
    return { name, ok: false, detail: 'failed' }
  } finally {
    clearTimeout(timer)
  }
}
