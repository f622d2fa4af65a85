import { hostOf } from './endpoint-url.ts'
import { isMailAddress } from './mail-url.ts'

/** The operator's mail server, and who mails come from. */
export type MailSettings = {
  host: string
  port: number
  /** TLS from the first byte. */
  tls: boolean
  /** Without one nobody logs in. */
  login: { user: string; password: string } | undefined
  from: string
}

const PORTS: Record<string, number> = { 'smtp:': 587, 'smtps:': 465 }

/** Reads SMTP_URL and MAIL_FROM. What is wrong is said without the URL: a password may be in it. */
export function mailSettingsOf(smtpUrl: string, from: string): MailSettings {
  const url = URL.canParse(smtpUrl) ? new URL(smtpUrl) : undefined
  const port = url && PORTS[url.protocol]
  const login = url && loginOf(url)
  const hasMore = url && (!['', '/'].includes(url.pathname) || url.search !== '' || url.hash !== '')
  if (!url || !port || url.hostname === '' || login === 'unreadable' || hasMore)
    throw new Error(`SMTP_URL must be smtp://user:password@host:port or smtps://…, percent-encoded, and nothing more`)
  if (!isMailAddress(from)) throw new Error(`MAIL_FROM is '${from}': it must be an address such as billing@example.com`)
  return { host: hostOf(url), port: Number(url.port) || port, tls: url.protocol === 'smtps:', login, from }
}

function loginOf({ username, password }: URL): MailSettings['login'] | 'unreadable' {
  if (username === '' && password === '') return undefined
  try {
    return { user: decodeURIComponent(username), password: decodeURIComponent(password) }
  } catch {
    return 'unreadable'
  }
}
