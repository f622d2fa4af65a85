import { createTransport } from 'nodemailer'
import type { Mailer } from './mail.ts'
import type { MailSettings } from './mail-settings.ts'
import { takeTurns } from './take-turns.ts'

/** `ca`: a certificate that is trusted beside the system's: for tests. */
export type MailerOptions = { timeoutMs?: number; ca?: string }

/** From the wait for a connection to the answer to the mail: shorter than a lease, and than a stop waits. */
const TIMEOUT_MS = 10_000
/** Mail servers bound them. One tenant has two at most: whom it writes to may be slow by its doing. */
const CONNECTIONS = { most: 5, mostOfOne: 2 }
const CLOSE_MS = 1_000

/**
 * Sends through the operator's mail server, each mail in a connection of its own. Whoever logs in does so over TLS, with
 * a certificate that is trusted. Without a login the mail would go in the clear too, so that TLS is taken as it is offered.
 */
export function createMailer(settings: MailSettings, { timeoutMs = TIMEOUT_MS, ca }: MailerOptions = {}): Mailer {
  const { host, port, tls, login, from } = settings
  const transport = createTransport({
    host,
    port,
    secure: tls,
    requireTLS: login !== undefined,
    tls: { rejectUnauthorized: tls || login !== undefined, ...(ca ? { ca } : {}) },
    ...(login ? { auth: { user: login.user, pass: login.password } } : {}),
    // What bounds an attempt is its signal; these let go of what hangs before it.
    ...{ dnsTimeout: timeoutMs, connectionTimeout: timeoutMs, greetingTimeout: timeoutMs, socketTimeout: timeoutMs },
    socketCloseTimeout: CLOSE_MS,
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  const turns = takeTurns(CONNECTIONS)
  return {
    from,
    send: async ({ id, tenant, at, to, subject, text }, toWhom) => {
      const mail = {
        from: { name: 'Tallyline', address: from },
        to: [...to],
        envelope: { from, to: [...toWhom] },
        messageId: `<${id}@${from.slice(from.lastIndexOf('@') + 1)}>`,
        date: at,
        subject,
        text,
        // Nobody's out-of-office answers it (RFC 3834).
        headers: { 'auto-submitted': 'auto-generated' },
        signal: AbortSignal.timeout(timeoutMs),
      }
      try {
        const { accepted, rejectedErrors = [] } = await turns(tenant, mail.signal, () => transport.sendMail(mail))
        const [refused] = rejectedErrors
        return { takenBy: toWhom.filter((address) => accepted.includes(address)), error: refused && nameOf(refused) }
      } catch (error) {
        return { takenBy: [], error: nameOf(error as MailError) }
      }
    },
  }
}

type MailError = Error & { code?: string; originalCode?: string; responseCode?: number }

/** A status or a code and no more: a message may tell of what lies around the product. */
function nameOf({ name, code, originalCode, responseCode }: MailError): string {
  if (name === 'AbortError' || name === 'TimeoutError' || code === 'ETIMEDOUT') return 'no answer in time'
  return responseCode && code !== 'ETLS' ? `answered ${responseCode}` : String(originalCode ?? code ?? name)
}
