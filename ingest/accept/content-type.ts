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
  // As nearly everybody writes it.
  const plain = contentType === undefined ? undefined : FORMATS.get(contentType)
  if (plain) return plain
  const { mediaType, parameters } = partsOf(contentType)
  const format = FORMATS.get(mediaType)
  if (!format) {
    throw new Problem('unsupported_media_type', `Content-Type must be one of ${[...FORMATS.keys()].join(', ')}.`)
  }
  if (!parameters.every(isUtf8OrNoCharset)) {
    throw new Problem('unsupported_media_type', 'Content-Type must have charset utf-8 or none.')
  }
  return format
}

/** Whether the body is a whole CloudEvent, or a batch of them, whatever headers say. */
export function isCloudEventsType(contentType: string | undefined): boolean {
  return partsOf(contentType).mediaType.startsWith('application/cloudevents')
}

/** Throws Problem unsupported_media_type unless the body is one JSON document: the data of an event in binary mode. */
export function checkDataType(contentType: string | undefined): void {
  if (partsOf(contentType).mediaType !== 'application/json') {
    throw new Problem('unsupported_media_type', 'Content-Type must be application/json beside ce- headers.')
  }
}

function partsOf(contentType: string | undefined): { mediaType: string; parameters: string[] } {
  const [mediaType = '', ...parameters] = (contentType ?? '').toLowerCase().split(';')
  return { mediaType: mediaType.trim(), parameters }
}

function isUtf8OrNoCharset(parameter: string): boolean {
  const [name = '', value = ''] = parameter.split('=')
  return name.trim() !== 'charset' || /^"?utf-?8"?$/.test(value.trim())
}
