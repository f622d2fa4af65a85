/**
 * How long the fault tests let a fault last, and how often they try. `npm run test:deep` runs them at full length;
 * elsewhere the same tests run with shorter sessions, stops and outages, and fewer rounds.
 */
const full = process.env.TALLYLINE_TEST_LENGTHS === 'full'

export const LENGTHS = full
  ? { sessionTimeoutMs: 30_000, zombieMs: 90_000, outageMs: 60_000, soakKills: 12, rebuildSteps: 25 }
  : { sessionTimeoutMs: 6_000, zombieMs: 15_000, outageMs: 10_000, soakKills: 5, rebuildSteps: 10 }
