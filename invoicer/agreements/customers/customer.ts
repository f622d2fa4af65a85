/** Who is billed, in one currency and one time zone, for the usage of some subjects. */
export type Customer = {
  id: string
  externalKey: string
  name: string | null
  email: string | null
  stripeCustomerId: string | null
  currency: string
  timezone: string
  /** Sorted. */
  subjects: string[]
  createdAtMs: number
}
