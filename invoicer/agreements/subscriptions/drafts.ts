import { isDeepStrictEqual } from 'node:util'
import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { findCustomer } from '../customers/customers.postgres.ts'
import {
  type DraftContent,
  findDraft,
  insertDraft,
  lockDraft,
  type SubscriptionDraft,
  storeDraft,
} from './drafts.postgres.ts'
import { type SubscriptionState, stateAfter } from './lifecycle.ts'
import type { Subscription } from './subscription.ts'
import { findSubscription, findSubscriptionByKey } from './subscriptions.postgres.ts'

export type NewDraft = { externalKey: string; customer: string; content: DraftContent }

/** Makes the subscription of a draft, with its id. */
export type Activate = (
  content: DraftContent,
  draft: SubscriptionDraft,
) => Promise<{ subscription: Subscription; created: boolean }>

/**
 * Keeps what may become a subscription: nothing of it is served, billed, counted or compared with others. The same again
 * answers what is stored. @throws Problem invalid_request for a customer who is not there; conflict for a key that is taken.
 */
export async function createDraft(
  tx: TenantTransaction,
  { externalKey, customer: idOrKey, content }: NewDraft,
  means: Means,
): Promise<{ draft: SubscriptionDraft; created: boolean }> {
  const customer = await findCustomer(tx, idOrKey)
  if (customer === undefined) {
    const errors = [{ path: 'customer', message: 'There is no such customer.' }]
    throw new Problem('invalid_request', 'The subscription is not valid.', { errors })
  }
  const taken = new Problem('conflict', `Subscription ${JSON.stringify(externalKey)} exists with other content.`)
  const stored = await findDraft(tx, externalKey)
  if (stored?.state !== 'activated' && (await findSubscriptionByKey(tx, externalKey)) !== undefined) throw taken
  const { id: customerId } = customer
  const draft: SubscriptionDraft = {
    ...{ id: means.newId(), externalKey, customerId, content, state: 'draft', createdAtMs: means.now() },
  }
  if (await insertDraft(tx, draft)) {
    await tell(tx, means, draft, 'drafted')
    return { draft, created: true }
  }
  const found = await findDraft(tx, externalKey)
  if (found === undefined || found.customerId !== customerId || !isDeepStrictEqual(found.content, content)) throw taken
  return { draft: found, created: false }
}

/** Members that are null are taken out, the others put in. The same again changes nothing. @throws Problem, as below. */
export async function reviseDraft(
  tx: TenantTransaction,
  idOrKey: string,
  change: DraftContent,
  means: Means,
): Promise<SubscriptionDraft> {
  const draft = await draftToChange(tx, idOrKey)
  stateAfter(stateOf(draft), 'revise')
  const members = Object.entries({ ...draft.content, ...change }).filter(([, value]) => value !== null)
  const revised = { ...draft, content: Object.fromEntries(members) }
  if (isDeepStrictEqual(revised.content, draft.content)) return draft
  await storeDraft(tx, revised)
  await tell(tx, means, revised, 'draft_revised')
  return revised
}

/**
 * Makes a draft the subscription that it says, from its start or a given one on; activated already, its subscription is
 * answered as it is. Draft and subscription are stored together: both or neither.
 * @throws Problem not_found; illegal_state for one that is discarded; conflict where its key or a meter is taken by now.
 */
export async function activateDraft(
  tx: TenantTransaction,
  idOrKey: string,
  change: DraftContent,
  activate: Activate,
): Promise<{ subscription: Subscription; created: boolean }> {
  const draft = await draftToChange(tx, idOrKey)
  if (draft.state === 'activated') {
    const subscription = await findSubscription(tx, draft.id)
    if (subscription === undefined) throw new Problem('internal', 'A stored subscription could not be read.')
    return { subscription, created: false }
  }
  stateAfter(stateOf(draft), 'activate')
  const made = await activate({ ...draft.content, ...change }, draft)
  if (!made.created) {
    throw new Problem(
      'conflict',
      `Subscription ${JSON.stringify(draft.externalKey)} exists: it was not made from this draft.`,
    )
  }
  // As it was asked for: the same request again is answered with it, whenever it was activated.
  await storeDraft(tx, { ...draft, state: 'activated' })
  return made
}

/**
 * It never becomes a subscription; again it stays so. Its external key is free for one, and for another draft.
 * @throws Problem, as above.
 */
export async function discardDraft(tx: TenantTransaction, idOrKey: string, means: Means): Promise<SubscriptionDraft> {
  const draft = await draftToChange(tx, idOrKey)
  if (draft.state === 'discarded') return draft
  stateAfter(stateOf(draft), 'discard')
  const discarded: SubscriptionDraft = { ...draft, state: 'discarded' }
  await storeDraft(tx, discarded)
  await tell(tx, means, discarded, 'draft_discarded')
  return discarded
}

/** As the table of states has it. */
export function stateOf({ state }: SubscriptionDraft): SubscriptionState {
  if (state === 'discarded') return 'ended'
  return state === 'activated' ? 'active' : 'draft'
}

/** Says of a subscription that is not there that it is a draft, if it is. @throws Problem illegal_state */
export async function refuseOfDraft(tx: TenantTransaction, idOrKey: string): Promise<void> {
  const draft = await findDraft(tx, idOrKey)
  if (draft === undefined || draft.state === 'activated') return
  throw new Problem(
    'illegal_state',
    `The subscription is ${stateOf(draft)}. A draft is revised, activated or discarded.`,
  )
}

/** @throws Problem illegal_state for the key of a draft that may be activated. */
export async function refuseDraftKey(tx: TenantTransaction, externalKey: string): Promise<void> {
  const draft = await findDraft(tx, externalKey)
  if (draft?.state !== 'draft' || draft.externalKey !== externalKey) return
  throw new Problem('conflict', `Subscription ${JSON.stringify(externalKey)} is a draft: activate or discard it.`)
}

async function draftToChange(tx: TenantTransaction, idOrKey: string): Promise<SubscriptionDraft> {
  const draft = await lockDraft(tx, idOrKey)
  if (draft !== undefined) return draft
  if ((await findSubscription(tx, idOrKey)) !== undefined) {
    throw new Problem('illegal_state', 'The subscription is no draft: send a PATCH to change or cancel it.')
  }
  throw new Problem('not_found', 'There is no subscription with this id or external key.')
}

async function tell(tx: TenantTransaction, means: Means, draft: SubscriptionDraft, change: string): Promise<void> {
  const { externalKey, customerId } = draft
  const data = { change, external_key: externalKey, draft_id: draft.id, state: stateOf(draft) }
  // No subscription is there that could be named.
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'subscription.updated', customerId, data }], means.now())
}
