import { SHARD_SLICE_MS } from '../../../schemas/event/identity.ts'

/** A month of usage as a bench sees it: some of its ten-second slices hold events, as many in each. */
export type Span = {
  fromMs: number
  /** Of the first event: numbers go on from span to span. */
  first: number
  slices: number
  /** From the beginning of one slice with events to that of the next; at least a slice. */
  stepMs: number
  eventsPerSlice: number
}

export const SPAN_MS = 30 * 86_400_000
export const CUSTOMERS = 1_000
/** What 100 million events a month come to in ten seconds; fewer events leave slices out instead of thinning them. */
const EVENTS_PER_SLICE = 400

/** So many events or a few less, in whole slices, spread over `lengthMs`; where these are too few, they are fuller. */
export function spanOf(events: number, fromMs: number, first: number, lengthMs = SPAN_MS): Span {
  const most = Math.floor(lengthMs / SHARD_SLICE_MS)
  const eventsPerSlice = Math.min(Math.max(EVENTS_PER_SLICE, Math.ceil(events / most)), events)
  const slices = Math.floor(events / eventsPerSlice)
  return { fromMs, first, slices, stepMs: lengthMs / slices, eventsPerSlice }
}

export function eventsIn({ slices, eventsPerSlice }: Span): number {
  return slices * eventsPerSlice
}

/** When a slice with events begins, by its place: on a slice's boundary, so its events share one shard. */
export function sliceStartMs({ fromMs, stepMs }: Span, place: number): number {
  return Math.floor((fromMs + place * stepMs) / SHARD_SLICE_MS) * SHARD_SLICE_MS
}

/** Nobody else sends under these names, so what a customer used is known beforehand. */
export const CUSTOMER_PREFIX = 'account-'

/** Events are dealt to customers in turn, by their numbers. */
export function eventsOfCustomer(span: Span, customer: number): number {
  const [from, to] = [span.first, span.first + eventsIn(span)]
  return countBelow(to, customer) - countBelow(from, customer)
}

function countBelow(number: number, customer: number): number {
  return Math.max(Math.ceil((number - customer) / CUSTOMERS), 0)
}
