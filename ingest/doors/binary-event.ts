import type { IncomingHttpHeaders } from 'node:http'
import { Problem } from '../../schemas/http/problem.ts'
import { decodeBody, type EncodedBody } from '../accept/body.ts'
import { ATTRIBUTES } from '../accept/cloud-event.ts'
import { checkDataType, isCloudEventsType } from '../accept/content-type.ts'

const PREFIX = 'ce-'
const HEADERS = ATTRIBUTES.map((name) => PREFIX + name)

/**
 * The events of a request in any of the HTTP binding's modes: structured, batched, or binary, which is the one where
 * the attributes are `ce-*` headers and the body is the data. A content type of CloudEvents means that it is not binary.
 */
export async function readEvents(headers: IncomingHttpHeaders, encoded: EncodedBody): Promise<unknown[]> {
  if (isBinary(headers)) return [await readBinaryEvent(headers, encoded)]
  return (await decodeBody(encoded)).events
}

function isBinary(headers: IncomingHttpHeaders): boolean {
  return HEADERS.some((name) => headers[name] !== undefined) && !isCloudEventsType(headers['content-type'])
}

async function readBinaryEvent(headers: IncomingHttpHeaders, encoded: EncodedBody): Promise<Record<string, unknown>> {
  const event: Record<string, unknown> = {}
  for (const name of ATTRIBUTES) {
    const value = headers[PREFIX + name]
    if (typeof value === 'string') event[name] = decodeAttribute(name, value)
  }
  // In the body it may be left out; headers without it could be anything's.
  if (event.specversion === undefined) throw invalid('specversion', 'is missing; send 1.0')
  if (encoded.body.length > 0) {
    checkDataType(encoded.contentType)
    const { events, single } = await decodeBody(encoded)
    event.data = single ? events[0] : events
  }
  return event
}

/** Double quotes and backslashes of older senders are taken away, then one round of percent-decoding. */
function decodeAttribute(name: string, value: string): string {
  if (!PRINTABLE_ASCII.test(value)) throw invalid(name, 'must be ASCII, all else percent-encoded')
  const text = QUOTED.test(value) ? value.slice(1, -1).replace(/\\(.)/g, '$1') : value
  try {
    return decodeURIComponent(text)
  } catch {
    throw invalid(name, 'must be percent-encoded UTF-8; encode % itself as %25')
  }
}
const PRINTABLE_ASCII = /^[ -~]*$/
const QUOTED = /^"(?:[^"\\]|\\.)*"$/

function invalid(name: string, message: string): Problem {
  const path = PREFIX + name
  return new Problem('invalid_request', `The header ${path} ${message}.`, { errors: [{ path, message }] })
}
