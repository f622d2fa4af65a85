import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { newSecret, signedHeaders } from '../../../ingest/webhooks/signature.ts'
import { isSigned } from './receiver.ts'

const NOW = Date.UTC(2026, 10, 20, 12)
const ID = '0198f4e2-7c3e-7b1a-9d55-0d3a6a6f1c11'
const BODY = '{"type":"webhook.test","data":{"a":"é"}}'

const delivery = (headers: Record<string, string>, body = BODY) => ({ method: 'POST', path: '/', headers, body })

test('the signature is that of the specification: a value computed by hand, with openssl', () => {
  // printf '%s' 'msg_1.1674087231.{"test": 1}' | openssl dgst -sha256 -mac HMAC -macopt hexkey:00…1f -binary | base64
  const secret = `whsec_${Buffer.from(Array.from({ length: 32 }, (_, n) => n)).toString('base64')}`
  expect(signedHeaders(secret, 'msg_1', 1_674_087_231_999, '{"test": 1}')).toEqual({
    'webhook-id': 'msg_1',
    'webhook-timestamp': '1674087231',
    'webhook-signature': 'v1,WH7ez+3mS0G4sUK/wBduWv016zevkAilmRYx8KXMSeU=',
  })
})

test('a secret is 32 random bytes in base64, after whsec_; no two are alike', () => {
  const secret = newSecret(randomBytes)
  expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
  expect(Buffer.from(secret.slice(6), 'base64')).toHaveLength(32)
  expect(newSecret(randomBytes)).not.toBe(secret)
})

test('a receiver verifies it, and sees any change of body, id, time or secret', async () => {
  const secret = newSecret(randomBytes)
  const headers = signedHeaders(secret, ID, NOW, BODY)
  expect(await isSigned(delivery(headers), secret, NOW)).toBe(true)
  expect(await isSigned(delivery(headers, BODY.replace('é', 'e')), secret, NOW)).toBe(false)
  expect(await isSigned(delivery({ ...headers, 'webhook-id': `${ID}1` }), secret, NOW)).toBe(false)
  const later = { ...headers, 'webhook-timestamp': String(NOW / 1000 + 1) }
  expect(await isSigned(delivery(later), secret, NOW)).toBe(false)
  expect(await isSigned(delivery(headers), newSecret(randomBytes), NOW)).toBe(false)
  expect(await isSigned(delivery(headers), secret, NOW + 301_000), 'a replay').toBe(false)
})
