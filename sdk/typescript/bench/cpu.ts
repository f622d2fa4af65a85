import { createTallyline, type FetchLike, type Tallyline } from '../src/tallyline.ts'

// CPU of emit and of a decision in the caller, and of the whole client with batching and sending to a server that costs
// nothing. Run: node --import tsx sdk/typescript/bench/cpu.ts (on a machine with other work too: CPU time is measured).

const EVENTS = 200_000
const BURST = 1_000
const BATCH = 500
const DECISIONS = 2_000_000
const ROUNDS = 5

/** Takes every event of a full batch, and leases as much as is asked for, without reading what it is sent. */
function costlessServer(): FetchLike {
  const lease = { lease_id: 'lease-1', quantity: '1000000000', quota_remaining: '9000000000', resets_at: null }
  const outcomes = Array.from({ length: BATCH }, (_, index) => ({ index, outcome: 'accepted' }))
  const [leased, taken] = [lease, { outcomes }].map((answer) => JSON.stringify(answer))
  return async (url) => {
    return {
      status: 202,
      headers: { get: () => null },
      text: async () => (url.endsWith('/events') ? taken : leased) ?? '',
    }
  }
}

function clientOf(gzipFromBytes: number): Tallyline {
  const quota = { firstQuantity: 1e9, leaseMs: 3_600_000 }
  return createTallyline({
    url: 'http://server.test',
    key: 'tly_bench',
    fetch: costlessServer(),
    batchEvents: BATCH,
    gzipFromBytes,
    quota,
  })
}

function cpuMicros(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

/** µs CPU an event: in the caller's turn alone, and with everything that follows from it. */
async function emitCost(gzipFromBytes: number): Promise<{ caller: number; whole: number }> {
  const tallyline = clientOf(gzipFromBytes)
  let caller = 0
  const startMicros = cpuMicros()
  for (let sent = 0; sent < EVENTS; sent += BURST) {
    const before = cpuMicros()
    for (let n = 0; n < BURST; n++) {
      tallyline.emit({
        type: 'llm.request',
        subject: `customer-${n % 100}`,
        data: { context_tokens: 374, generated_tokens: n },
      })
    }
    caller += cpuMicros() - before
    await tallyline.flush()
  }
  const whole = cpuMicros() - startMicros
  const { accepted } = tallyline.stats()
  if (accepted !== EVENTS) throw new Error(`${accepted} of ${EVENTS} events arrived`)
  await tallyline.close()
  return { caller: caller / EVENTS, whole: whole / EVENTS }
}

/** What encoding alone costs: the same text without a client. */
function encodeCost(): number {
  const before = cpuMicros()
  let bytes = 0
  for (let n = 0; n < EVENTS; n++) bytes += JSON.stringify({ context_tokens: 374, generated_tokens: n }).length
  if (bytes === 0) throw new Error('nothing was encoded')
  return (cpuMicros() - before) / EVENTS
}

async function decideCost(subjects: number): Promise<number> {
  const tallyline = clientOf(1e9)
  const names = Array.from({ length: subjects }, (_, n) => `customer-${n}`)
  for (const name of names) await tallyline.check(name, 'tokens')
  const before = cpuMicros()
  let refused = 0
  for (let n = 0; n < DECISIONS; n++) {
    if (!tallyline.decide(names[n % subjects] ?? '', 'tokens')?.allowed) refused++
  }
  const micros = cpuMicros() - before
  if (refused > 0) throw new Error(`${refused} decisions were refused`)
  await tallyline.close()
  return micros / DECISIONS
}

const rows: Record<string, number[]> = {}
const note = (name: string, micros: number) => {
  rows[name] = [...(rows[name] ?? []), micros]
}
for (let round = 0; round < ROUNDS; round++) {
  const plain = await emitCost(1e9)
  const zipped = await emitCost(1_024)
  note('emit, in the caller (id, time, encoding, queue)', plain.caller)
  note('  of which JSON.stringify of data', encodeCost())
  note('emit, with batching, sending and answers, plain', plain.whole)
  note('emit, with batching, sending and answers, gzip', zipped.whole)
  note('decide, one subject', await decideCost(1))
  note('decide, 1,000 subjects', await decideCost(1_000))
}
for (const [name, micros] of Object.entries(rows)) {
  const sorted = micros.toSorted((a, b) => a - b)
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0
  process.stdout.write(`${name.padEnd(50)} ${(sorted[0] ?? 0).toFixed(2)} µs (median ${median.toFixed(2)})\n`)
}
