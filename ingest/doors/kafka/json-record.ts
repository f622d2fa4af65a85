import { Problem } from '../../../schemas/http/problem.ts'
import { decodeBody } from '../../accept/body.ts'
import { ATTRIBUTES } from '../../accept/cloud-event.ts'
import { checkDataType, isCloudEventsType } from '../../accept/content-type.ts'
import type { InputRecord, RecordFault } from './input.ts'

const PREFIX = 'ce_'

/**
 * The events of a record as the Kafka binding of CloudEvents has them: structured (one event, or a batch of them), or
 * binary, where the attributes are `ce_` headers and the value is the data. Nothing is checked yet. Rejects never.
 */
export async function readJsonRecord({ value, headers }: InputRecord): Promise<{ events: unknown[] } | RecordFault> {
  const contentType = headers.get('content-type')
  try {
    if (isBinary(headers)) return { events: [await readBinary(value, headers)] }
    const body = { contentType: contentType ?? 'application/json', contentEncoding: undefined, body: value }
    return { events: (await decodeBody(body)).events }
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    const [first] = error.options.errors ?? []
    return { code: error.code, path: first?.path ?? '', message: error.message }
  }
}

function isBinary(headers: InputRecord['headers']): boolean {
  return ATTRIBUTES.some((name) => headers.has(PREFIX + name)) && !isCloudEventsType(headers.get('content-type'))
}

async function readBinary(value: Buffer, headers: InputRecord['headers']): Promise<Record<string, unknown>> {
  const event: Record<string, unknown> = {}
  for (const name of ATTRIBUTES) event[name] = headers.get(PREFIX + name)
  if (event.specversion === undefined) {
    const fault = { path: `${PREFIX}specversion`, message: 'is missing; send 1.0' }
    throw new Problem('invalid_request', `The header ${fault.path} ${fault.message}.`, { errors: [fault] })
  }
  if (value.length === 0) return event
  const contentType = headers.get('content-type') ?? 'application/json'
  checkDataType(contentType)
  const { events, single } = await decodeBody({ contentType, contentEncoding: undefined, body: value })
  return { ...event, data: single ? events[0] : events }
}
