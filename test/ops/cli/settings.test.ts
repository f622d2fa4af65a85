import { describe, expect, test } from 'vitest'
import {
  allowPrivateWebhooksOf,
  cronOf,
  dataFolderOf,
  embeddedStores,
  enforceQuotaOf,
  kafkaSettingsOf,
  mailOf,
  portOf,
  ROLES,
  refusal,
  serversOf,
} from '../../../ops/cli/settings.ts'
import { productVersion } from '../../../ops/cli/version.ts'

describe('settings come from the environment, an empty one counts as none', () => {
  test('TALLYLINE_DATA', () => {
    expect(dataFolderOf({})).toBe('.tallyline')
    expect(dataFolderOf({ TALLYLINE_DATA: '' })).toBe('.tallyline')
    expect(dataFolderOf({ TALLYLINE_DATA: '/a b' })).toBe('/a b')
  })

  test('PORT', () => {
    expect(portOf({})).toBe(8081)
    expect(portOf({ PORT: '' })).toBe(8081)
    expect(portOf({ PORT: '0' })).toBe(0)
    expect(portOf({ PORT: '65535' })).toBe(65_535)
  })

  test.each(['65536', '-1', '80.5', '8081 ', '1e3', '0x50', 'http', '99999999999999999999'])(
    'PORT=%s is refused with a sentence that says what it must be',
    (text) => {
      expect(() => portOf({ PORT: text })).toThrow(`PORT is '${text}': it must be a number from 0 to 65535`)
    },
  )

  test('KAFKA_INPUT_PREFIX', () => {
    const prefixOf = (text?: string) => kafkaSettingsOf({ KAFKA_INPUT_PREFIX: text }).inputPrefix
    expect([prefixOf(), prefixOf(''), prefixOf('in.')]).toEqual(['tallyline-input.', 'tallyline-input.', 'in.'])
    expect(prefixOf('off'), 'no topic of a tenant is read').toBeUndefined()
    expect(() => prefixOf('in put')).toThrow('must be letters, digits')
  })

  test('QUOTA_ENFORCEMENT', () => {
    expect([{}, { QUOTA_ENFORCEMENT: '' }, { QUOTA_ENFORCEMENT: 'true' }].map(enforceQuotaOf)).toEqual([
      true,
      true,
      true,
    ])
    expect(enforceQuotaOf({ QUOTA_ENFORCEMENT: 'false' })).toBe(false)
    for (const text of ['FALSE', 'no', '0', ' false'])
      expect(() => enforceQuotaOf({ QUOTA_ENFORCEMENT: text })).toThrow('must be true or false')
  })

  test('WEBHOOK_ALLOW_PRIVATE', () => {
    const of = (text?: string) => allowPrivateWebhooksOf({ WEBHOOK_ALLOW_PRIVATE: text })
    expect([of(), of(''), of('false'), of('true')]).toEqual([false, false, false, true])
    expect(() => of('1')).toThrow("WEBHOOK_ALLOW_PRIVATE is '1': it must be true or false")
  })

  test('SMTP_URL and MAIL_FROM: both or neither, and nothing that tells the password', () => {
    const [url, from] = ['smtps://me%40a.example:p%3Aw@mail.example', 'billing@tally.example']
    const login = { user: 'me@a.example', password: 'p:w' }
    expect([mailOf({}), mailOf({ SMTP_URL: '', MAIL_FROM: '' })]).toEqual([undefined, undefined])
    expect(mailOf({ SMTP_URL: url, MAIL_FROM: from })).toEqual({
      host: 'mail.example',
      port: 465,
      tls: true,
      login,
      from,
    })
    expect(() => mailOf({ SMTP_URL: url })).toThrow('MAIL_FROM is not set: mail needs SMTP_URL and MAIL_FROM')
    expect(() => mailOf({ MAIL_FROM: from })).toThrow('SMTP_URL is not set: mail needs SMTP_URL and MAIL_FROM')
  })

  test('BILLING_CRON', () => {
    expect(cronOf({})).toBe('5 * * * *')
    expect(cronOf({ BILLING_CRON: '' })).toBe('5 * * * *')
    expect(cronOf({ BILLING_CRON: '0 3 * * *' })).toBe('0 3 * * *')
    expect(cronOf({ BILLING_CRON: 'off' })).toBeUndefined()
  })
})

test('the product knows its version', () => {
  expect(productVersion()).toMatch(/^\d+\.\d+\.\d+/)
})

describe('each server switches its own store', () => {
  const all = {
    KAFKA_BROKERS: 'a:1, b:2',
    REDIS_URL: 'redis://r',
    CLICKHOUSE_URL: 'http://c',
    DATABASE_URL: 'postgres://p',
  }

  test('brokers are a list; what is not named is embedded', () => {
    expect(serversOf(all).kafkaBrokers).toEqual(['a:1', 'b:2'])
    expect(embeddedStores(ROLES, serversOf(all))).toEqual([])
    expect(embeddedStores(ROLES, serversOf({ ...all, REDIS_URL: '' }))).toEqual(['redisUrl'])
    expect(embeddedStores(['invoicer'], serversOf({}))).toEqual(['clickhouseUrl', 'databaseUrl'])
  })

  test('a role alone is refused the stores that it cannot share, by the names to set', () => {
    expect(refusal('aggregator', serversOf(all))).toBeUndefined()
    expect(refusal('invoicer', serversOf({ ...all, KAFKA_BROKERS: '', REDIS_URL: '' }))).toBeUndefined()
    expect(refusal('aggregator', serversOf({ DATABASE_URL: 'postgres://p' }))).toMatch(
      /set KAFKA_BROKERS .*CLICKHOUSE_URL/,
    )
    expect(refusal('ingest', serversOf({ ...all, REDIS_URL: '' }))).toMatch(/set REDIS_URL/)
  })
})
