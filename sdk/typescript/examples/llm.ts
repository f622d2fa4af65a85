import { createTallyline } from '../src/tallyline.ts' // '@tallyline/sdk'
import { meterTokens, QuotaRefused } from '../src/tokens.ts' // '@tallyline/sdk/tokens'

const tallyline = createTallyline({
  url: process.env.TALLYLINE_URL ?? 'http://localhost:8081',
  key: process.env.TALLYLINE_API_KEY ?? '',
  quota: { whenAway: 'closed' },
  onDead: ({ code, message }) => process.stderr.write(`refused: ${code}: ${message}\n`),
})

/** In place of a provider's client: a stream whose last piece says what it took. */
async function* model(_customer: string, prompt: string) {
  for (const word of prompt.split(' ').toReversed()) yield { choices: [{ delta: { content: `${word} ` } }] }
  yield { choices: [], usage: { prompt_tokens: 100, completion_tokens: 20 } }
}

const complete = meterTokens(tallyline, model, {
  subject: (customer) => customer,
  // Asked for before the call, as an estimate; corrected by what the response says.
  draw: { meter: process.env.METER ?? 'tokens', quantity: () => 200, actual: ({ output }) => output },
})

let answered = 0
try {
  for (let n = 0; n < 20; n++) {
    for await (const _piece of await complete('customer-llm', 'metered are tokens these'));
    answered++
  }
} catch (error) {
  if (!(error instanceof QuotaRefused)) throw error
  process.stdout.write(`${error.code} after ${answered} calls\n`)
}
const { acknowledged, waiting } = await tallyline.close()
process.stdout.write(`acknowledged ${acknowledged}, waiting ${waiting}\n`)
