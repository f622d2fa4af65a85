import { describe, expect, test } from 'vitest'
import { mailSettingsOf } from '../../../ingest/webhooks/mail-settings.ts'

const FROM = 'billing@tally.example'
const of = (url: string, from = FROM) => mailSettingsOf(url, from)

describe('the mail server', () => {
  test.each([
    ['smtp://mail.example', { host: 'mail.example', port: 587, tls: false, login: undefined }],
    ['smtp://127.0.0.1:25/', { host: '127.0.0.1', port: 25, tls: false, login: undefined }],
    ['smtps://[::1]', { host: '::1', port: 465, tls: true, login: undefined }],
    ['smtps://a:b@mail.example:2465', { port: 2465, tls: true, login: { user: 'a', password: 'b' } }],
    ['smtp://a%40b.example:p%2F%40%C3%A9@mail.example', { login: { user: 'a@b.example', password: 'p/@é' } }],
  ])('%s', (url, settings) => expect(of(url)).toMatchObject({ ...settings, from: FROM }))

  test.each([
    'mail.example',
    'https://mail.example',
    'smtp://',
    'smtp:mail.example',
    'smtp://a:secret@mail.example/path',
    'smtp://a:secret@mail.example?tls=off',
    'smtp://a:secret%zz@mail.example',
    'smtp://a:secret@mail.example:x',
  ])('%s is refused, without telling the password', (url) => {
    const refused = () => of(url)
    expect(refused).toThrow(/^SMTP_URL must be smtp:\/\/user:password@host:port or smtps:/)
    expect(refused).not.toThrow('secret')
  })

  test.each(['billing', 'Billing <billing@tally.example>', 'billing@tally.example\r\nBcc: a@b.example', ''])(
    'mails cannot come from %j',
    (from) => expect(() => of('smtp://mail.example', from)).toThrow('it must be an address such as'),
  )
})
