import { Problem } from '../../schemas/http/problem.ts'

/** `document` is one event or a list of them, `batch` a list, `lines` one event a line. */
export type BodyFormat = 'document' | 'batch' | 'lines'

const FORMATS: ReadonlyMap<string, BodyFormat> = new Map([
  ['application/cloudevents+json', 'document'],
  ['application/json', 'document'],
  ['application/cloudevents-batch+json', 'batch'],
  ['application/x-ndjson', 'lines'],
])

/** The format that a Content-Type names. Throws Problem unsupported_media_type. */
export function formatOf(contentType: string | undefined): BodyFormat {
  const [mediaType = '', ...parameters] = (contentType ?? '').toLowerCase().split(';')
  const format = FORMATS.get(mediaType.trim())
  if (!format) {
    throw new Problem('unsupported_media_type', `Content-Type must be one of ${[...FORMATS.keys()].join(', ')}.`)
  }
  if (!parameters.every(isUtf8OrNoCharset)) {
    throw new Problem('unsupported_media_type', 'Content-Type must have charset utf-8 or none.')
  }
  return format
}

function isUtf8OrNoCharset(parameter: string): boolean {
  const [name = '', value = ''] = parameter.split('=')
  return name.trim() !== 'charset' || /^"?utf-?8"?$/.test(value.trim())
}
