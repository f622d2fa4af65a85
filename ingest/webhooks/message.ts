/** What can be subscribed to. */
export const TOPICS = [
  'quota.threshold_reached',
  'spend.threshold_reached',
  'credit.threshold_reached',
  'credit.top_up_suspended',
] as const
/** Sent when it is asked for, whatever an endpoint subscribed to. */
export const TEST_TOPIC = 'webhook.test'

/** One event that is told. `id` is the same at every attempt and for every endpoint; `payload` is what is sent. */
export type Message = { id: string; topic: string; payload: string }

export function messageOf(id: string, topic: string, atMs: number, data: object): Message {
  return { id, topic, payload: JSON.stringify({ type: topic, timestamp: new Date(atMs).toISOString(), data }) }
}
