import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { wrongUrl } from '../../../ingest/webhooks/endpoint-url.ts'
import { addressesOf, isMailAddress } from '../../../ingest/webhooks/mail-url.ts'

/** Issue 6: alerts by mail. The URL is a tenant's: nothing in it may become more than recipients. */
const wrong = (url: string) => wrongUrl(url, { allowPrivate: false, sendsMail: true })

describe('a mailto URL', () => {
  test.each([
    ['mailto:finance@example.com', ['finance@example.com']],
    ['MAILTO:a@example.com,b+c.d@sub.example.co.uk', ['a@example.com', 'b+c.d@sub.example.co.uk']],
    // RFC 6068: what means something in a URL is percent-encoded.
    ['mailto:gorby%25kremvax@example.com', ['gorby%kremvax@example.com']],
    ['mailto:unlikely%3Faddress%23%2F%26@example.com', ['unlikely?address#/&@example.com']],
    ['mailto:a%40b.example', ['a@b.example']],
    ['mailto:a@Example.COM,A@example.com,a@example.com', ['a@example.com', 'A@example.com']],
    ['mailto:a@xn--bcher-kva.example', ['a@xn--bcher-kva.example']],
  ])('%s is %j', (url, addresses) => {
    expect(wrong(url)).toBeUndefined()
    expect(addressesOf(url)).toEqual(addresses)
  })

  const NO_MORE = 'must have addresses only: no header fields, no fragment'
  const NO_ADDRESS = 'must be addresses such as mailto:finance@example.com, separated by commas, and in ASCII'
  test.each([
    ['mailto:a@example.com?subject=hello', NO_MORE],
    ['mailto:?to=a@example.com', NO_MORE],
    ['mailto:a@example.com?bcc=b@example.com', NO_MORE],
    ['mailto:a@example.com#b', NO_MORE],
    ['mailto:', NO_ADDRESS],
    ['mailto:a', NO_ADDRESS],
    ['mailto:@example.com', NO_ADDRESS],
    ['mailto:a@', NO_ADDRESS],
    ['mailto:a@example.com,', NO_ADDRESS],
    ['mailto:a@example.com, b@example.com', NO_ADDRESS],
    ['mailto:a@example.com;b@example.com', NO_ADDRESS],
    ['mailto://a@example.com', NO_ADDRESS],
    ['mailto:a@example.com%0D%0ABcc:b@example.com', NO_ADDRESS],
    ['mailto:a@example.com\r\nBcc:b@example.com', NO_ADDRESS],
    ['mailto:a%0A@example.com', NO_ADDRESS],
    ['mailto:A%20%3Ca@example.com%3E', NO_ADDRESS],
    ['mailto:%22a b%22@example.com', NO_ADDRESS],
    ['mailto:a(comment)@example.com', NO_ADDRESS],
    ['mailto:a@b@example.com', NO_ADDRESS],
    ['mailto:.a@example.com', NO_ADDRESS],
    ['mailto:a..b@example.com', NO_ADDRESS],
    ['mailto:%zz@example.com', NO_ADDRESS],
    ['mailto:é@example.com', NO_ADDRESS],
    ['mailto:a@bücher.example', NO_ADDRESS],
    // Of the mail server alone, or by its number.
    ['mailto:root@localhost', NO_ADDRESS],
    ['mailto:a@127.0.0.1', NO_ADDRESS],
    ['mailto:a@[127.0.0.1]', NO_ADDRESS],
    ['mailto:a@-example.com', NO_ADDRESS],
    [`mailto:${'a'.repeat(65)}@example.com`, NO_ADDRESS],
    [`mailto:a@${'b.'.repeat(130)}example`, NO_ADDRESS],
  ])('%j: %s', (url, why) => expect(wrong(url)).toBe(why))

  test('names ten people at most', () => {
    const url = (many: number) => `mailto:${Array.from({ length: many }, (_, n) => `a${n}@example.com`).join(',')}`
    expect([wrong(url(10)), wrong(url(11))]).toEqual([undefined, 'must have at most 10 addresses'])
  })

  test('is refused where mail is not set up, with what to set', () => {
    const why = 'cannot be a mail address here: SMTP_URL and MAIL_FROM are not set'
    expect(wrongUrl('mailto:a@example.com', { allowPrivate: true })).toBe(why)
    expect(wrongUrl('MailTo:a@example.com', { allowPrivate: false, sendsMail: false })).toBe(why)
  })
})

test('whatever a tenant writes, what is mailed to is a mailbox and nothing else', () => {
  let taken = 0
  const mailbox = fc.stringMatching(/^[a-z0-9]{1,9}@[a-z0-9]{1,9}\.example$/)
  const piece = fc.oneof(
    fc.constantFrom('@', ',', '%0D%0A', '\r\n', '<', '>', '"', ' ', ':', '%00', 'a@b.example'),
    fc.string(),
  )
  const written = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(''))
  fc.assert(
    // Half of them are lists of mailboxes, so that enough is taken whatever the seed.
    fc.property(
      fc.oneof(
        written,
        fc.array(mailbox, { minLength: 1, maxLength: 8 }).map((list) => list.join(',')),
      ),
      (to) => {
        const url = `mailto:${to}`
        if (wrong(url) !== undefined) return
        taken++
        for (const address of addressesOf(url)) {
          expect(isMailAddress(address)).toBe(true)
          expect(address).toMatch(/^[!-~]+@[a-z0-9.-]+$/)
          expect(address).not.toMatch(/[\s<>()[\]\\,;:"]/)
        }
      },
    ),
    { numRuns: 2_000 },
  )
  expect(taken).toBeGreaterThan(10)
})
