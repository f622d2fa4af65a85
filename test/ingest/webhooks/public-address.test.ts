import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { wrongUrl } from '../../../ingest/webhooks/endpoint-url.ts'
import { isPublicAddress } from '../../../ingest/webhooks/public-address.ts'

const NOT_PUBLIC = [
  ...['0.0.0.0', '0.1.2.3', '10.0.0.1', '10.255.255.255', '100.64.0.1', '100.127.255.255', '127.0.0.1', '127.9.9.9'],
  ...['169.254.169.254', '172.16.0.1', '172.31.255.255', '192.0.0.1', '192.0.2.1', '192.88.99.1', '192.168.1.1'],
  ...['198.18.0.1', '198.19.255.255', '198.51.100.1', '203.0.113.1', '224.0.0.1', '239.1.1.1', '240.0.0.1'],
  ...['255.255.255.255', '::', '::1', '::ffff:127.0.0.1', '::ffff:8.8.8.8', '::ffff:7f00:1', '64:ff9b::7f00:1'],
  ...['64:ff9b:1::1', '100::1', '2001::1', '2001:db8::1', '2002:7f00:1::', '3fff::1', '5f00::1', 'fc00::1', 'fd00::1'],
  ...['fe80::1', 'fe80::1%eth0', '2a00:1450:4001::1%1', 'fec0::1', 'ff02::1'],
]
const PUBLIC = [
  ...[
    '1.1.1.1',
    '8.8.8.8',
    '9.255.255.255',
    '11.0.0.0',
    '100.63.255.255',
    '100.128.0.0',
    '126.255.255.255',
    '128.0.0.0',
  ],
  ...['169.253.255.255', '172.15.255.255', '172.32.0.0', '192.167.255.255', '198.17.255.255', '198.20.0.0'],
  ...['223.255.255.255', '2001:4860:4860::8888', '2606:4700:4700::1111', '2a00:1450:4001::1', '2400:cb00::1'],
]

describe('an address on the internet', () => {
  test.each(NOT_PUBLIC)('%s is none', (address) => expect(isPublicAddress(address)).toBe(false))
  test.each(PUBLIC)('%s is one', (address) => expect(isPublicAddress(address)).toBe(true))
  test('what is no address is none', () => {
    for (const text of ['', 'localhost', '8.8.8', '8.8.8.8:80', '[2001:4860::1]', '0x7f.1', '2130706433'])
      expect(isPublicAddress(text)).toBe(false)
  })
  test('private ranges are refused whole', () => {
    const byte = fc.integer({ min: 0, max: 255 })
    fc.assert(
      fc.property(byte, byte, byte, fc.integer({ min: 16, max: 31 }), (a, b, c, d) => {
        for (const address of [`10.${a}.${b}.${c}`, `127.${a}.${b}.${c}`, `172.${d}.${b}.${c}`, `192.168.${b}.${c}`])
          expect(isPublicAddress(address)).toBe(false)
      }),
    )
  })
})

describe('the URL of a webhook', () => {
  test.each([
    'https://hooks.example.com/a?b=1',
    'https://hooks.example.com:8443/',
    'https://8.8.8.8/hook',
    'https://[2606:4700:4700::1111]/hook',
    // Names are judged when they are looked up.
    'https://localhost/hook',
  ])('%s may be told', (url) => expect(wrongUrl(url, { allowPrivate: false })).toBeUndefined())

  test.each([
    ['http://hooks.example.com/', 'must be an https URL'],
    ['ftp://hooks.example.com/', 'must be an https or a mailto URL'],
    ['file:///etc/passwd', 'must be an https or a mailto URL'],
    ['javascript:alert(1)', 'must be an https or a mailto URL'],
    ['hooks.example.com', 'must be an https or a mailto URL'],
    ['', 'must be an https or a mailto URL'],
    ['https://user@hooks.example.com/', 'must not have a user or a password'],
    ['https://:secret@hooks.example.com/', 'must not have a user or a password'],
    ['https://hooks.example.com/#a', 'must not have a fragment'],
    ['https://127.0.0.1/', 'must not be a private address'],
    ['https://127.1/', 'must not be a private address'],
    ['https://0x7f000001/', 'must not be a private address'],
    ['https://2130706433/', 'must not be a private address'],
    ['https://017700000001/', 'must not be a private address'],
    ['https://169.254.169.254/latest/meta-data', 'must not be a private address'],
    ['https://[::1]/', 'must not be a private address'],
    ['https://[::ffff:10.0.0.1]/', 'must not be a private address'],
    ['https://[fd00::1]:8443/', 'must not be a private address'],
  ])('%s: %s', (url, why) => expect(wrongUrl(url, { allowPrivate: false })).toBe(why))

  test('where private ones are allowed they are, without TLS too, and nothing else is', () => {
    for (const url of ['http://127.0.0.1:8080/', 'https://10.0.0.1/', 'http://[::1]/'])
      expect(wrongUrl(url, { allowPrivate: true })).toBeUndefined()
    expect(wrongUrl('ftp://127.0.0.1/', { allowPrivate: true })).toBe('must be an https or a mailto URL')
    expect(wrongUrl('http://a:b@127.0.0.1/', { allowPrivate: true })).toBe('must not have a user or a password')
  })
})
