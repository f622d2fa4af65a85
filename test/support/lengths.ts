/**
 * How long the fault tests on servers let a fault last. `npm run test:deep` runs them at full length; elsewhere the
 * same tests run with shorter sessions, stops and outages.
 */
const full = process.env.TALLYLINE_TEST_LENGTHS === 'full'

export const LENGTHS = full
  ? { sessionTimeoutMs: 30_000, zombieMs: 90_000, outageMs: 60_000, soakKills: 12 }
  : { sessionTimeoutMs: 6_000, zombieMs: 15_000, outageMs: 10_000, soakKills: 12 }
