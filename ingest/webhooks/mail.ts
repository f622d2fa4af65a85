import { TEST_TOPIC } from './message.ts'

/** A mail, the same at every attempt, and the tenant whose it is. */
export type Mail = { id: string; tenant: string; at: Date; to: readonly string[]; subject: string; text: string }
/** Who took a mail, and why the others did not. */
export type Sent = { takenBy: string[]; error: string | undefined }
/** Sends within 10 s, to `toWhom` of those it is addressed to. Never rejects. */
export type Mailer = { from: string; send(mail: Mail, toWhom: readonly string[]): Promise<Sent> }

/** A message that is mailed, and the webhook that it is of. */
export type Mailed = { eventId: string; payload: string; tenant: string; endpointId: string; endpoint: string }
type Data = Record<string, unknown>

const MOST_IN_SUBJECT = 60
const MOST_IN_LINE = 300

/** What a mail is about, in a line; a topic that is not here stands for itself. */
const HEADLINES: Record<string, (data: Data) => string> = {
  'quota.threshold_reached': ({ feature, subject, customer, level, used, limit }) =>
    [
      `${line(feature, MOST_IN_SUBJECT)}: ${line(subject ?? customer, MOST_IN_SUBJECT)} has reached ${line(level)}`,
      `(${line(used)} of ${line(limit)} used)`,
    ].join(' '),
  'spend.threshold_reached': ({ subscription, level, spent, budget, currency }) =>
    [
      `${line(subscription, MOST_IN_SUBJECT)}: spend has reached ${line(level)}`,
      `(${line(spent)} of ${line(budget)} ${line(currency)})`,
    ].join(' '),
  'credit.threshold_reached': ({ customer, level, used, base, currency }) =>
    [
      `${line(customer, MOST_IN_SUBJECT)}: credit has reached ${line(level)}`,
      `(${line(used)} of ${line(base)} ${line(currency)})`,
    ].join(' '),
  'credit.top_up_suspended': ({ customer, amount, currency, reason }) =>
    [
      `${line(customer, MOST_IN_SUBJECT)}: credit is not bought any more`,
      `(${line(amount)} ${line(currency)} declined: ${line(reason, MOST_IN_SUBJECT)})`,
    ].join(' '),
  [TEST_TOPIC]: ({ webhook }) => `test of the webhook ${line(webhook, MOST_IN_SUBJECT)}`,
}

/**
 * A message as plain text: the headline, then every fact of it in a line of its own, then who had it sent and how that
 * ends. Names come from tenants and emitters: they cannot begin a line.
 */
export function mailOf({ eventId, payload, tenant, endpointId, endpoint }: Mailed, to: string[], from: string): Mail {
  const { type, timestamp, data } = JSON.parse(payload) as { type: string; timestamp: string; data: Data }
  const headline = HEADLINES[type]?.(data) ?? line(type)
  const facts = Object.entries(data).filter(([, value]) => value !== null && value !== undefined)
  const text = [
    headline,
    '',
    ...facts.map(([name, value]) => `${labelOf(name)}: ${line(value)}`),
    '',
    '-- ',
    `Sent by Tallyline because ${tenant} set this address up as its webhook "${endpoint}".`,
    `To stop such mails, ask ${tenant} to delete that webhook (DELETE /api/v1/webhooks/${endpoint}), or write to ${from}.`,
    '',
  ].join('\n')
  return {
    id: `${eventId}.${endpointId}`,
    tenant,
    at: new Date(timestamp),
    to,
    subject: `[${tenant}] ${headline}`,
    text,
  }
}

/** `resets_at` as `Resets at`. */
function labelOf(name: string): string {
  const words = line(name).replaceAll('_', ' ')
  return words.slice(0, 1).toUpperCase() + words.slice(1)
}

/** As text in one line: nothing in it ends the line, or turns the direction in which it is read. */
function line(value: unknown, most = MOST_IN_LINE): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '')
  const clean = text.replace(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+/gu, ' ').trim()
  const symbols = [...clean]
  return symbols.length > most ? `${symbols.slice(0, most - 1).join('')}…` : clean
}
