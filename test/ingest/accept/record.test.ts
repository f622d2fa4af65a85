import { Counter, Registry } from 'prom-client'
import { expect, test } from 'vitest'
import type { Accepted } from '../../../ingest/accept/accept.ts'
import { createUsageRecorder } from '../../../ingest/accept/record.ts'
import { createLogger } from '../../../ops/host/logger.ts'
import type { Caller } from '../../../schemas/http/door.ts'

const key = { keyId: 'k', operator: false, permissions: new Set<never>(), scope: 'everything' } as const
const caller: Caller = { tenantId: 7, tenantSlug: 'acme', ...key }

function accepted(subject: string, type: string, remaining?: string): Accepted {
  const event = { id: 'a', type, subject, identity: 'i', partition: 0, encoded: Buffer.alloc(0), draws: [] }
  return { outcome: { outcome: 'accepted', id: 'a', ...(remaining ? { quota_remaining: remaining } : {}) }, event }
}

/** HC-10: what was recorded is logged with whose it is, what it is and what remains. */
test('a request leaves one line per subject and type, however its events are mixed, with what remains at last', () => {
  const lines: Record<string, unknown>[] = []
  const logger = createLogger({ stream: { write: (line) => lines.push(JSON.parse(line)) } })
  const registers = [new Registry()]
  const usageTotal = new Counter({ name: 'usage', help: 'h', labelNames: ['tenant', 'outcome'] as const, registers })
  const quotaExceededTotal = new Counter({ name: 'exceeded', help: 'h', labelNames: ['tenant'] as const, registers })
  createUsageRecorder({ logger, usageTotal, quotaExceededTotal })(caller, [
    accepted('x', 'call', '9'),
    accepted('y', 'call'),
    accepted('x', 'call', '8'),
    accepted('x', 'token', '70'),
    { outcome: { outcome: 'quota_exceeded', id: 'b', quota_remaining: '0' }, event: undefined },
    accepted('x', 'call'),
    accepted('y', 'call'),
  ])
  const told = lines.map((line) => [line.user_id, line.usage_type, line.amount, line.quota_remaining])
  expect(told).toEqual([
    ['x', 'call', 3, '8'],
    ['y', 'call', 2, undefined],
    ['x', 'token', 1, '70'],
  ])
  expect(lines[0]).toMatchObject({ service: 'ingest', event: 'usage_recorded', tenant: 'acme', level: 'info' })
})

test('a single event that was sent as so much of a usage type is told as that', () => {
  const lines: Record<string, unknown>[] = []
  const logger = createLogger({ stream: { write: (line) => lines.push(JSON.parse(line)) } })
  const registers = [new Registry()]
  const usageTotal = new Counter({ name: 'usage', help: 'h', labelNames: ['tenant', 'outcome'] as const, registers })
  const quotaExceededTotal = new Counter({ name: 'exceeded', help: 'h', labelNames: ['tenant'] as const, registers })
  const sentAs = { usageType: 'conversation_minutes', amount: 15.5 }
  createUsageRecorder({ logger, usageTotal, quotaExceededTotal })(caller, [accepted('x', 'call', '1440.5')], sentAs)
  expect(lines).toMatchObject([{ usage_type: 'conversation_minutes', amount: 15.5, quota_remaining: '1440.5' }])
})
