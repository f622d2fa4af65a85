import type { App } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { documentingCompiler } from './validation.ts'

/** Of a JSON request; what needs more comes in through a raw body. */
export const JSON_BODY_LIMIT = 1024 * 1024
/** Of a raw body as it arrives, compressed or not. */
export const RAW_BODY_LIMIT = 10 * 1024 * 1024
export const RAW_CONTENT_TYPES = [
  'application/json',
  'application/cloudevents+json',
  'application/cloudevents-batch+json',
  'application/x-ndjson',
]

/**
 * Routes that `register` adds to the scope get `request.body` as the Buffer that arrived, still in its
 * `content-encoding` (see `request.headers`), for the RAW_CONTENT_TYPES. `schema.body` only documents it: declare it as
 * `Type.Unsafe<Buffer>({ …JSON schema, examples: [...] })` with `consumes`. Errors thrown by `register` fail the start.
 */
export function withRawBodies(app: App, register: (scope: App) => void): void {
  app.register(async (instance) => {
    instance.removeAllContentTypeParsers()
    for (const type of RAW_CONTENT_TYPES) {
      instance.addContentTypeParser(type, { parseAs: 'buffer', bodyLimit: RAW_BODY_LIMIT }, (_request, body, done) =>
        done(null, body),
      )
    }
    instance.setValidatorCompiler(documentingCompiler)
    register(instance as App)
  })
}

/** Every other route takes JSON: UTF-8 without damage, and no member that would poison a prototype. */
export function acceptJson(app: App): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  const utf8 = new TextDecoder('utf-8', { fatal: true })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body: Buffer, done) => {
    let text: string
    try {
      text = utf8.decode(body)
    } catch (cause) {
      done(new Problem('invalid_encoding', 'The body is not valid UTF-8.', { cause }))
      return
    }
    parse(request, text, done)
  })
}
