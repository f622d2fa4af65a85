import { fastifySwagger, type SwaggerTransform } from '@fastify/swagger'
import { type TSchema, Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'
import { ProblemDocument } from '../../schemas/http/problem.ts'
import { permissionOf } from './auth.ts'

const PROBLEM_EXAMPLE = {
  type: 'https://tallyline.dev/problems/forbidden',
  title: 'The API key lacks a permission',
  status: 403,
  code: 'forbidden',
  detail: "This needs the permission 'billing:usage:read', which the key lacks.",
  retryable: false,
}

/** Registers the collector of routes and GET /openapi.json. Must come before the routes it shall describe. */
export async function serveOpenapi(app: App, version: string): Promise<void> {
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Tallyline', version, description: 'Usage metering and invoicing.' },
      components: { securitySchemes: { key: { type: 'http', scheme: 'bearer', bearerFormat: 'tly_…' } } },
    },
    transform: describeAccess,
  })
  let text: string | undefined
  app.get(
    '/openapi.json',
    {
      config: { permission: 'public' },
      schema: {
        summary: 'This description of the API.',
        response: { 200: Type.Unknown({ description: 'OpenAPI 3.1', examples: [{ openapi: '3.1.0' }] }) },
      },
    },
    async (_request, reply) => {
      text ??= JSON.stringify(app.swagger())
      return reply.type('application/json').serializer(String).send(text)
    },
  )
}

/** Adds what holds for every route: the permission, the bearer key, problem documents for what fails. */
const describeAccess: SwaggerTransform = ({ schema, url, route }) => {
  const permission = permissionOf(route)
  const { $id: _, ...problem } = ProblemDocument as TSchema & { $id?: string }
  const failure = {
    description: 'A problem document (RFC 9457); `code` says which.',
    content: { 'application/problem+json': { schema: { ...problem, examples: [PROBLEM_EXAMPLE] } } },
  }
  const described = {
    ...schema,
    'x-permission': permission,
    ...(route.config?.scoped ? { 'x-scoped': true } : {}),
    security: permission === 'public' ? [] : [{ key: [] }],
    response: { ...(schema?.response as object | undefined), '4xx': failure, '5xx': failure },
  }
  return { schema: described, url }
}

type Media = { schema?: { examples?: unknown[]; example?: unknown }; example?: unknown; examples?: unknown }
type Operation = {
  requestBody?: { content?: Record<string, Media> }
  responses?: Record<string, { content?: Record<string, Media> }>
}

/** Operations of an OpenAPI document whose body or successful answer comes without an example, as `GET /path: 200`. */
export function missingExamples(document: { paths?: object | undefined }): string[] {
  return Object.entries(document.paths ?? {}).flatMap(([path, methods]) =>
    Object.entries(methods as Record<string, Operation>).flatMap(([method, operation]) =>
      partsOf(operation)
        .filter(([, media]) => !hasExample(media))
        .map(([part]) => `${method.toUpperCase()} ${path}: ${part}`),
    ),
  )
}

function partsOf(operation: Operation): [string, Media][] {
  const bodies = Object.entries(operation.requestBody?.content ?? {})
  const answers = Object.entries(operation.responses ?? {}).filter(([status]) => status.startsWith('2'))
  return [
    ...bodies.map(([type, media]): [string, Media] => [`body ${type}`, media]),
    ...answers.flatMap(([status, { content }]) =>
      Object.values(content ?? {}).map((media): [string, Media] => [status, media]),
    ),
    // A route that documents no answer has no example of it either.
    ...(answers.length === 0 ? [['answer', {}] satisfies [string, Media]] : []),
  ]
}

function hasExample(media: Media): boolean {
  const inSchema = media.schema?.example !== undefined || (media.schema?.examples?.length ?? 0) > 0
  return inSchema || media.example !== undefined || media.examples !== undefined
}
