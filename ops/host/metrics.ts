import { Counter, collectDefaultMetrics, Histogram, type Registry } from 'prom-client'
import { Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'

const RESPONSE_TIME = 'billing_response_time_seconds'

/** Observes every request and serves the registry, with the metrics of the process, at GET /metrics. */
export function serveMetrics(app: App, registry: Registry): void {
  if (!registry.getSingleMetric('process_cpu_user_seconds_total')) collectDefaultMetrics({ register: registry })
  const responseTime = responseTimeOf(registry)
  app.addHook('onResponse', (request, reply, done) => {
    // The route's pattern, never the URL: its values would make a label without end.
    const route = request.routeOptions.url ?? 'unmatched'
    responseTime.observe({ method: request.method, route, status: reply.statusCode }, reply.elapsedTime / 1_000)
    done()
  })
  app.get(
    '/metrics',
    {
      config: { permission: 'public' },
      schema: {
        summary: 'Metrics in the text format of Prometheus.',
        produces: ['text/plain'],
        response: { 200: Type.String({ examples: ['billing_usage_total{tenant="acme",outcome="accepted"} 42\n'] }) },
      },
    },
    async (_request, reply) => {
      reply.type(registry.contentType).serializer(String)
      return registry.metrics()
    },
  )
}

/**
 * The counter of this name, made once however many roles of one process ask for it. Labels must be bounded: tenant,
 * outcome, kind; never a subject or an id.
 */
export function counter<L extends string>(
  registry: Registry,
  name: string,
  help: string,
  labelNames: readonly L[],
): Counter<L> {
  const existing = registry.getSingleMetric(name)
  if (existing && !(existing instanceof Counter)) throw new Error(`The metric ${name} exists and is no counter`)
  if (existing) return existing as Counter<L>
  return new Counter({ name, help, labelNames: [...labelNames], registers: [registry] })
}

function responseTimeOf(registry: Registry): Histogram<'method' | 'route' | 'status'> {
  const existing = registry.getSingleMetric(RESPONSE_TIME)
  if (existing) return existing as Histogram<'method' | 'route' | 'status'>
  return new Histogram({
    name: RESPONSE_TIME,
    help: 'Time from the first byte of a request to the end of its answer',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [registry],
  })
}
