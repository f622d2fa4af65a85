import { fastify } from 'fastify'
import { answerParent } from '../child.ts'
import { ownCpuUs } from '../cpu.ts'

/** The floor: Fastify as it comes, one route that parses JSON and says how many events it saw. */
const app = fastify()
app.post('/api/v1/events', async ({ body }, reply) =>
  reply.code(202).send({ accepted: Array.isArray(body) ? body.length : 1 }),
)

answerParent({ start: () => app.listen({ host: '127.0.0.1', port: 0 }), cpu: ownCpuUs }, () => app.close())
