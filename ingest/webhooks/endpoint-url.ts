import { isIP } from 'node:net'
import { isMailUrl, wrongMailUrl } from './mail-url.ts'
import { isPublicAddress } from './public-address.ts'

/** What webhooks may go to. */
export type Allowed = {
  /** Private addresses and plain http may be told too. */
  allowPrivate: boolean
  /** There is a mail server. */
  sendsMail?: boolean
}

/** Why a URL cannot be told anything; undefined if it may. Names are looked up when they are connected to, each time. */
export function wrongUrl(text: string, { allowPrivate, sendsMail = false }: Allowed): string | undefined {
  if (isMailUrl(text))
    return sendsMail ? wrongMailUrl(text) : 'cannot be a mail address here: SMTP_URL and MAIL_FROM are not set'
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !['https:', 'http:'].includes(url.protocol)) return 'must be an https or a mailto URL'
  if (url.username !== '' || url.password !== '') return 'must not have a user or a password'
  if (url.hash !== '') return 'must not have a fragment'
  if (allowPrivate) return undefined
  if (url.protocol !== 'https:') return 'must be an https URL'
  const host = hostOf(url)
  return isIP(host) !== 0 && !isPublicAddress(host) ? 'must not be a private address' : undefined
}

/** Its host as a connection takes it: IPv6 without brackets. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, '$1')
}
