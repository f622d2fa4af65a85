import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { SMTPServer, type SMTPServerOptions } from 'smtp-server'
import type { MailSettings } from '../../../ingest/webhooks/mail-settings.ts'
import { CERTIFICATE, CERTIFICATE_KEY } from './localhost-certificate.ts'

/** A mail as it came: its envelope, and what stands in it once it is decoded. */
export type Received = {
  from: string
  to: string[]
  /** By name in small letters; one that comes twice is an error. */
  headers: Map<string, string>
  text: string
  raw: string
  overTls: boolean
  user: string | undefined
}
export type MailServer = {
  port: number
  settings: MailSettings
  received: Received[]
  /** Connections that are open. */
  connections(): number
  close(): Promise<void>
}
/** A status to refuse with, for the nth time from 0 that it is asked; undefined takes it. What never resolves says nothing. */
export type Answers = {
  recipient?: (address: string, place: number) => number | undefined
  mail?: (place: number, to: readonly string[]) => number | undefined | Promise<undefined>
  login?: (user: string, password: string) => boolean
  options?: SMTPServerOptions
  port?: number
}

/** The operator's mail server, on 127.0.0.1: with STARTTLS, and logins only over TLS. */
export async function openMailServer({ recipient, mail, login, options, port = 0 }: Answers = {}): Promise<MailServer> {
  const received: Received[] = []
  const asked = { recipients: 0, mails: 0 }
  const server = new SMTPServer({
    ...{ key: CERTIFICATE_KEY, cert: CERTIFICATE, authOptional: login === undefined, disableReverseLookup: true },
    closeTimeout: 100,
    ...(login ? {} : { disabledCommands: ['AUTH'] }),
    onAuth: ({ username = '', password }, _session, done) =>
      login?.(username, password ?? '') ? done(null, { user: username }) : done(refusal(535)),
    onRcptTo: ({ address }, _session, done) => {
      const status = recipient?.(address, asked.recipients++)
      done(status ? refusal(status) : null)
    },
    onData: (stream, { envelope, secure, user }, done) => {
      const parts: Buffer[] = []
      stream.on('data', (part: Buffer) => parts.push(part))
      stream.on('end', async () => {
        const { mailFrom, rcptTo } = envelope
        const from = mailFrom ? mailFrom.address : ''
        const to = rcptTo.map(({ address }) => address)
        const status = await mail?.(asked.mails++, to)
        if (status) return done(refusal(status))
        received.push({ from, to, ...decodedMail(Buffer.concat(parts).toString('utf8')), overTls: secure, user })
        done()
      })
    },
    ...options,
  })
  server.on('error', () => undefined)
  server.listen(port, '127.0.0.1')
  await once(server.server, 'listening')
  const address = server.server.address() as AddressInfo
  const close = () => new Promise<void>((done) => server.close(done))
  return {
    port: address.port,
    settings: { host: '127.0.0.1', port: address.port, tls: false, login: undefined, from: 'billing@tally.example' },
    received,
    connections: () => server.connections.size,
    close,
  }
}

function refusal(status: number): Error {
  return Object.assign(new Error('no'), { responseCode: status })
}

/** Reads a mail of one part as RFC 5322, 2045 and 2047 say, with another implementation than the product's. */
function decodedMail(raw: string): Pick<Received, 'headers' | 'text' | 'raw'> {
  const end = raw.indexOf('\r\n\r\n')
  const headers = new Map<string, string>()
  for (const line of raw
    .slice(0, end)
    .replace(/\r\n[ \t]+/g, ' ')
    .split('\r\n')) {
    const [, name = '', value = ''] = /^([!-9;-~]+): ?(.*)$/.exec(line) ?? []
    if (name === '' || headers.has(name.toLowerCase())) throw new Error(`A header that should not be: ${line}`)
    headers.set(name.toLowerCase(), decodedWords(value))
  }
  const body = raw.slice(end + 4)
  const how = headers.get('content-transfer-encoding')
  const text = how === 'base64' ? fromBase64(body) : how === 'quoted-printable' ? fromQuoted(body) : body
  return { headers, text: text.replaceAll('\r\n', '\n'), raw }
}

function decodedWords(value: string): string {
  const joined = value.replace(/\?= +=\?/g, '?==?')
  return joined.replace(/=\?UTF-8\?([QB])\?([^?]*)\?=/gi, (_all, kind: string, text: string) =>
    kind.toUpperCase() === 'B' ? fromBase64(text) : fromQuoted(text.replaceAll('_', ' ')),
  )
}
function fromBase64(text: string): string {
  return Buffer.from(text, 'base64').toString('utf8')
}
function fromQuoted(text: string): string {
  const bytes = text
    .replace(/=\r\n/g, '')
    .replace(/=([0-9A-F]{2})/g, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(bytes, 'latin1').toString('utf8')
}
