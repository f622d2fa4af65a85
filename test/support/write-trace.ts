import { writeFileSync } from 'node:fs'
import { shapedTrace } from '../ops/cli/demo/expected.ts'

/** `node --import tsx test/support/write-trace.ts SEED FILE`: a trace of the public one's shape. */
const [seed, file] = process.argv.slice(2)
if (!seed || !file) throw new Error('Usage: write-trace.ts SEED FILE')
writeFileSync(file, shapedTrace(Number(seed)))
