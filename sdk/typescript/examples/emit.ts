import { createTallyline } from '../src/tallyline.ts' // '@tallyline/sdk'

// TALLYLINE_URL=http://localhost:8081 TALLYLINE_API_KEY=tly_… node --import tsx sdk/typescript/examples/emit.ts
const tallyline = createTallyline({
  url: process.env.TALLYLINE_URL ?? 'http://localhost:8081',
  key: process.env.TALLYLINE_API_KEY ?? '',
  onDead: ({ code, message }) => process.stderr.write(`refused: ${code}: ${message}\n`),
})

for (let n = 0; n < 1_000; n++) {
  tallyline.emit({
    type: 'llm.request',
    subject: `customer-${n % 10}`,
    data: { context_tokens: 374, generated_tokens: 44 },
  })
}
const { acknowledged, waiting } = await tallyline.close()
process.stdout.write(`acknowledged ${acknowledged}, waiting ${waiting}\n`)
