import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { serveHealth } from '../../../ops/host/health.ts'
import { createLogger } from '../../../ops/host/logger.ts'
import { counter } from '../../../ops/host/metrics.ts'
import { testHost } from './host.ts'

const logger = createLogger({ level: 'silent' })

test('alive is not ready: readiness asks every check and says which part stands still', async () => {
  const { app } = await testHost()
  let lag = 5
  serveHealth(app, {
    logger,
    timeoutMs: 30_000,
    checks: [
      { name: 'postgres', check: async () => ({ ok: true }) },
      { name: 'pump', check: async () => ({ ok: lag === 0, detail: `lag ${lag}` }) },
    ],
  })
  const ask = async (url: string) => {
    const answer = await app.inject({ method: 'GET', url })
    return { status: answer.statusCode, body: answer.json() }
  }
  expect(await ask('/healthz')).toEqual({ status: 200, body: { status: 'ok' } })
  expect(await ask('/readyz')).toEqual({
    status: 503,
    body: {
      status: 'unavailable',
      checks: [
        { name: 'postgres', ok: true },
        { name: 'pump', ok: false, detail: 'lag 5' },
      ],
    },
  })
  lag = 0
  expect(await ask('/readyz')).toMatchObject({ status: 200, body: { status: 'ok' } })
  await app.close()
})

test('a check that hangs or throws counts as failed, without its message; askers share a round', async () => {
  const { app } = await testHost()
  let rounds = 0
  serveHealth(app, {
    logger,
    timeoutMs: 30,
    checks: [
      { name: 'hangs', check: () => new Promise(() => rounds++) },
      { name: 'throws', check: async () => Promise.reject(new Error('password=hunter2')) },
    ],
  })
  const answers = await Promise.all([1, 2, 3].map(() => app.inject({ method: 'GET', url: '/readyz' })))
  expect(answers[0]!.json().checks).toEqual([
    { name: 'hangs', ok: false, detail: 'no answer within 30 ms' },
    { name: 'throws', ok: false, detail: 'failed' },
  ])
  expect(answers.map((answer) => answer.statusCode)).toEqual([503, 503, 503])
  expect(rounds).toBe(1)
  await app.close()
})

test('metrics: the process, response times by route pattern, and what roles count', async () => {
  const { app, metrics } = await testHost()
  app.get('/things/:id', { config: { permission: 'billing:usage:read' } }, async () => ({}))
  counter(metrics, 'billing_usage_total', 'Usage events by outcome', ['tenant', 'outcome']).inc(
    { tenant: 'acme', outcome: 'accepted' },
    3,
  )
  counter(metrics, 'billing_usage_total', 'asked for again', ['tenant', 'outcome']).inc({
    tenant: 'acme',
    outcome: 'accepted',
  })
  await app.inject({ method: 'GET', url: '/things/12?x=1', headers: { authorization: 'Bearer reader' } })
  await app.inject({ method: 'GET', url: '/things/13' })
  await app.inject({ method: 'GET', url: '/invented/path' })
  const answer = await app.inject({ method: 'GET', url: '/metrics' })
  expect(answer.headers['content-type']).toContain('text/plain')
  expect(answer.body).toContain('billing_usage_total{tenant="acme",outcome="accepted"} 4')
  expect(answer.body).toContain('billing_response_time_seconds_count{method="GET",route="/things/:id",status="200"} 1')
  expect(answer.body).toContain('billing_response_time_seconds_count{method="GET",route="/things/:id",status="401"} 1')
  expect(answer.body).toContain('billing_response_time_seconds_count{method="GET",route="unmatched",status="404"} 1')
  expect(answer.body).toContain('process_cpu_user_seconds_total')
  expect(answer.body).not.toContain('invented')
  await app.close()
})

test('a name that is taken by another kind of metric is refused', async () => {
  const { metrics } = await testHost()
  expect(() => counter(metrics, 'billing_response_time_seconds', 'x', [])).toThrow('is no counter')
  expect(counter(new Registry(), 'a_total', 'x', [])).toBeDefined()
})
