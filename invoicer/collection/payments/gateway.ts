/** What a gateway is asked to take, for an invoice or a purchase of credit. The key is that of the attempt and never changes. */
export type ChargeRequest = { idempotencyKey: string; invoiceId: string; amountMinor: bigint; currency: string }

/** A decline is a result. `unknown` is a time-out or an answer nobody understands: the money may have moved. */
export type ChargeResult =
  | { outcome: 'succeeded'; reference: string }
  | { outcome: 'declined'; reason: string }
  | { outcome: 'unknown'; reason: string }

/** Takes money once per idempotency key: asked again with the same key, it answers what it did. */
export type Gateway = { name: 'manual'; charge: (request: ChargeRequest) => Promise<ChargeResult> }
