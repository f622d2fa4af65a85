import fastify, { type FastifyRequest } from 'fastify'
import { meterFastify } from '../src/fastify.ts' // '@tallyline/sdk/fastify'
import { createTallyline } from '../src/tallyline.ts' // '@tallyline/sdk'

const tallyline = createTallyline({
  url: process.env.TALLYLINE_URL ?? 'http://localhost:8081',
  key: process.env.TALLYLINE_API_KEY ?? '',
  onDead: ({ code, message }) => process.stderr.write(`refused: ${code}: ${message}\n`),
})

const app = fastify()
app.addHook(
  'preHandler',
  meterFastify<FastifyRequest>({
    tallyline,
    type: 'llm.request',
    meter: process.env.METER ?? 'tokens',
    quantity: () => 44,
    // Of whoever is logged in; a service of yours knows better than a header.
    subject: (request) => request.headers['x-customer']?.toString(),
    data: () => ({ context_tokens: 374, generated_tokens: 44 }),
  }),
)
app.get('/', async () => ({ done: true }))
app.addHook('onClose', async () => {
  const { acknowledged, waiting } = await tallyline.close()
  process.stdout.write(`acknowledged ${acknowledged}, waiting ${waiting}\n`)
})
process.once('SIGTERM', () => app.close())
process.stdout.write(`listens at ${await app.listen({ port: Number(process.env.PORT ?? 3000), host: '127.0.0.1' })}\n`)
