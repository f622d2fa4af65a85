import { chmodSync, mkdtempSync } from 'node:fs'
import { startStack } from '../stack/stack.ts'
import { startChild } from './child.ts'
import { FULL } from './sizes.ts'

const folder = mkdtempSync('/tmp/bprof-')
chmodSync(folder, 0o711)
const stack = await startStack()
const c = startChild(new URL('./figure-process.ts', import.meta.url), folder + '/f.log')
const rows = await c.ask('run', {
  figure: 'pump',
  mode: 'servers',
  sizes: { ...FULL, warmUps: 1, rounds: 2 },
  folder,
  servers: { env: stack.env, pids: {} },
})
process.stdout.write(JSON.stringify(rows).slice(0, 900) + '\n')
await c.stop()
await stack.stop()
