import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { type Mail, mailOf } from '../../../ingest/webhooks/mail.ts'
import { messageOf, TOPICS } from '../../../ingest/webhooks/message.ts'
import { createMailer } from '../../../ingest/webhooks/send-mail.smtp.ts'
import { CERTIFICATE } from './localhost-certificate.ts'
import { type Answers, type MailServer, openMailServer } from './mail-server.ts'

/** One mail, through real SMTP servers in this process. */
const NOW = Date.UTC(2026, 10, 20, 12)
const open: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
})

async function server(answers?: Answers): Promise<MailServer> {
  const one = await openMailServer(answers)
  open.push(one)
  return one
}
const ONE = ['a@example.com']
const PATIENCE = { timeout: 30_000, interval: 10 }

function mail(to: string[] = ONE, data: object = {}, tenant = 'acme'): Mail {
  const alert = { feature: 'tokens', subject: 's', level: '80%', used: '8', limit: '10', ...data }
  const { id: eventId, payload } = messageOf('e-1', TOPICS[0], NOW, alert)
  const webhook = { tenant, endpointId: 'w-1', endpoint: 'finance' }
  return mailOf({ eventId, payload, ...webhook }, to, 'billing@tally.example')
}

describe('a mail', () => {
  test('comes as plain text from the operator’s address, to everybody, and is the same each time', async () => {
    const { settings, received } = await server()
    const to = ['a@example.com', 'b+c@xn--bcher-kva.example']
    const { text, subject, ...sent } = mail(to, { subject: 'élan', feature: '顧客'.repeat(30) })
    for (let n = 0; n < 2; n++)
      expect(await createMailer(settings).send({ text, subject, ...sent }, to)).toEqual({
        takenBy: to,
        error: undefined,
      })
    const [one, again] = received
    expect(again).toEqual(one)
    expect(one).toMatchObject({ from: 'billing@tally.example', text })
    expect(one?.to.map((address) => new URL(`http://${address}`).href)).toEqual(
      to.map((address) => new URL(`http://${address}`).href),
    )
    expect(Object.fromEntries(one?.headers ?? [])).toEqual({
      from: 'Tallyline <billing@tally.example>',
      to: to.join(', '),
      subject,
      'message-id': '<e-1.w-1@tally.example>',
      date: 'Fri, 20 Nov 2026 12:00:00 +0000',
      'auto-submitted': 'auto-generated',
      'mime-version': '1.0',
      'content-type': 'text/plain; charset=utf-8',
      'content-transfer-encoding': expect.stringMatching(/^(quoted-printable|base64)$/),
    })
  })

  /** What a tenant or an emitter names can end no header, no body and no mail. */
  test('has no header more, whatever names its event has', async () => {
    const { settings, received } = await server()
    const plain = mail()
    await createMailer(settings).send(plain, ONE)
    for (const name of [
      '\r\nBcc: x@b.example\r\n\r\nbody',
      '\n.\nMAIL FROM:<x@b.example>',
      '\r\n.\r\nQUIT',
      '=?UTF-8?Q?=0D=0AX: y?=',
    ]) {
      await createMailer(settings).send(mail(ONE, { subject: name, feature: name }), ONE)
      const { headers, to, text } = received.at(-1)!
      expect([...headers.keys()]).toEqual([...received[0]!.headers.keys()])
      expect(to).toEqual(ONE)
      expect(text.split('\n')).toHaveLength(plain.text.split('\n').length)
    }
    expect(received).toHaveLength(5)
  })

  test('is refused by some: the others have it, and who has it is told', async () => {
    const { settings, received } = await server({
      recipient: (address) => (address.startsWith('no') ? 550 : undefined),
    })
    const to = ['no@example.com', 'a@example.com', 'nobody@example.com', 'b@example.com']
    const sent = await createMailer(settings).send(mail(to), to)
    expect(sent).toEqual({ takenBy: ['a@example.com', 'b@example.com'], error: 'answered 550' })
    expect(received).toMatchObject([{ to: sent.takenBy }])
    expect(received[0]?.headers.get('to')).toBe(to.join(', '))
  })

  test.each([
    ['nobody is known there', { recipient: () => 550 }, 'answered 550'],
    ['its receiver is greylisted', { recipient: () => 451 }, 'answered 451'],
    ['the server is full', { mail: () => 452 }, 'answered 452'],
    ['it is taken for spam', { mail: () => 554 }, 'answered 554'],
    [
      'the server has too many connections',
      { options: { maxClients: 0, onConnect: (_s, done) => done(refusal(421)) } },
      'answered 421',
    ],
  ] satisfies [string, Answers, string][])('is not sent where %s', async (_why, answers, error) => {
    const { settings, received } = await server(answers)
    expect(await createMailer(settings).send(mail(), ONE)).toEqual({ takenBy: [], error })
    expect(received).toEqual([])
  })
})

describe('the connection', () => {
  const login = { user: 'me', password: 'p:w' }
  const knows = (user: string, password: string) => user === 'me' && password === 'p:w'

  test('is encrypted where the server can, though nobody vouches for it; without a login the clear would do too', async () => {
    const [encrypting, plain] = [await server(), await server({ options: { disabledCommands: ['AUTH', 'STARTTLS'] } })]
    for (const { settings } of [encrypting, plain])
      expect((await createMailer(settings).send(mail(), ONE)).error).toBeUndefined()
    expect([encrypting.received[0]?.overTls, plain.received[0]?.overTls]).toEqual([true, false])
  })

  test('logs in over TLS with a trusted certificate, by STARTTLS or from the first byte', async () => {
    for (const tls of [false, true]) {
      const { settings, received } = await server({ login: knows, options: { secure: tls } })
      const mailer = createMailer({ ...settings, tls, login }, { ca: CERTIFICATE })
      expect(await mailer.send(mail(), ONE)).toEqual({ takenBy: ONE, error: undefined })
      expect(received).toMatchObject([{ overTls: true, user: 'me' }])
      const wrong = createMailer({ ...settings, tls, login: { user: 'me', password: 'x' } }, { ca: CERTIFICATE })
      expect(await wrong.send(mail(), ONE)).toEqual({ takenBy: [], error: 'answered 535' })
    }
  })

  test('shows no password to whoever has no trusted certificate, or offers no TLS', async () => {
    const asked: string[] = []
    const listens = (user: string) => asked.push(user) > 0
    const insecure = { disabledCommands: ['STARTTLS'], allowInsecureAuth: true }
    const servers = [await server({ login: listens }), await server({ login: listens, options: { secure: true } })]
    const strangers = servers.map(({ settings }, place) => createMailer({ ...settings, tls: place === 1, login }))
    for (const stranger of strangers)
      expect(await stranger.send(mail(), ONE)).toEqual({ takenBy: [], error: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
    const { settings } = await server({ login: listens, options: insecure })
    expect(await createMailer({ ...settings, login }).send(mail(), ONE)).toEqual({ takenBy: [], error: 'ETLS' })
    expect(asked).toEqual([])
  })

  test('ends with the mail, also one that failed', async () => {
    const { settings, connections } = await server({ recipient: (_address, place) => (place === 0 ? undefined : 550) })
    for (let n = 0; n < 2; n++) await createMailer(settings).send(mail(), ONE)
    await expect.poll(connections, PATIENCE).toBe(0)
  })

  test('is one of five at most; whoever waits is served in turn', async () => {
    let [underWay, most] = [0, 0]
    const { settings, received } = await server({
      mail: async () => {
        most = Math.max(most, ++underWay)
        await sleep(20)
        underWay--
        return undefined
      },
    })
    const mailer = createMailer(settings, { timeoutMs: 60_000 })
    const ofTen = Array.from({ length: 30 }, (_, n) => mail(ONE, {}, `t-${n % 10}`))
    const sent = await Promise.all(ofTen.map((one) => mailer.send(one, ONE)))
    expect(sent.every(({ error }) => error === undefined)).toBe(true)
    expect(received).toHaveLength(30)
    expect(most).toBeGreaterThan(1)
    expect(most).toBeLessThanOrEqual(5)
  })

  /** Receivers that are slow, or a tenant with many: its mails took all connections, and nobody else's left. */
  test('is one of two at most of a tenant: its slow mails hold up no other’s', async () => {
    const slow: (() => void)[] = []
    const { settings, received } = await server({
      mail: (_place, [to]) =>
        to === 'slow@example.com' ? new Promise((done) => slow.push(() => done(undefined))) : undefined,
    })
    const mailer = createMailer(settings, { timeoutMs: 60_000 })
    const sending = Promise.all(Array.from({ length: 6 }, () => mailer.send(mail(), ['slow@example.com'])))
    await expect.poll(() => slow.length, PATIENCE).toBe(2)
    expect(await mailer.send(mail(ONE, {}, 'globex'), ONE)).toEqual({ takenBy: ONE, error: undefined })
    expect(received).toHaveLength(1)
    expect(slow).toHaveLength(2)
    for (let place = 0; place < 6; place++) {
      await expect.poll(() => slow[place], PATIENCE).toBeDefined()
      slow[place]?.()
    }
    expect((await sending).every(({ error }) => error === undefined)).toBe(true)
  })
})

describe('a server that is not there', () => {
  const silent = async (talk: (socket: Socket) => void = () => undefined) => {
    const sockets = new Set<Socket>()
    const one = createServer((socket) => {
      sockets.add(socket.on('error', () => undefined).on('close', () => sockets.delete(socket)))
      talk(socket.resume())
    })
    one.listen(0, '127.0.0.1')
    await once(one, 'listening')
    open.push({
      close: async () => {
        for (const socket of sockets) socket.destroy()
        one.close()
        await once(one, 'close')
      },
    })
    const settings = { host: '127.0.0.1', port: (one.address() as AddressInfo).port, tls: false, login: undefined }
    return { settings: { ...settings, from: 'billing@tally.example' }, sockets }
  }

  test('is told in a word', async () => {
    const gone = await openMailServer()
    await gone.close()
    const why = async (settings = gone.settings) => (await createMailer(settings).send(mail(), ONE)).error
    expect(await why()).toBe('ECONNREFUSED')
    expect(await why({ ...gone.settings, host: 'nowhere.invalid' })).toMatch(
      /^(ENOTFOUND|EAI_AGAIN|ESERVFAIL|ECONNREFUSED|ETIMEOUT|no answer in time)$/,
    )
    expect(await why((await silent((socket) => socket.resetAndDestroy())).settings)).toMatch(
      /^(ECONNRESET|ECONNECTION)$/,
    )
    expect(await why((await silent((socket) => socket.end('HTTP/1.1 400 x\r\n\r\n'))).settings)).toBe('EPROTOCOL')
  })

  test.each([
    ['never greets', () => undefined],
    ['greets and says no more', (socket: Socket) => socket.write('220 hello\r\n')],
    ['never comes to an end', (socket: Socket) => drip(socket)],
  ])('keeps nobody waiting, nor a connection, when it %s: ten mails end in the time of one', async (_what, talk) => {
    const { settings, sockets } = await silent((socket) => void talk(socket))
    const mailer = createMailer(settings, { timeoutMs: 300 })
    const sent = await Promise.all(Array.from({ length: 10 }, () => mailer.send(mail(), ONE)))
    expect(sent).toEqual(Array(10).fill({ takenBy: [], error: 'no answer in time' }))
    await expect.poll(() => sockets.size, PATIENCE).toBe(0)
  })

  test('keeps nobody waiting either when it says nothing to a whole mail', async () => {
    const { settings, received, connections } = await server({ mail: () => new Promise(() => undefined) })
    expect((await createMailer(settings, { timeoutMs: 2_000 }).send(mail(), ONE)).error).toBe('no answer in time')
    expect(received).toEqual([])
    await expect.poll(connections, PATIENCE).toBe(0)
  })
})

function drip(socket: Socket): void {
  socket.write('220 hello\r\n')
  const timer = setInterval(() => socket.write('250-more\r\n'), 20)
  socket.on('close', () => clearInterval(timer))
}

function refusal(status: number): Error {
  return Object.assign(new Error('no'), { responseCode: status })
}
