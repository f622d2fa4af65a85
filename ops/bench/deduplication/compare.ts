import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startChild } from '../child.ts'
import { thisMachine } from '../machine.ts'
import type { DesignFigures, DesignInput } from './design-process.ts'
import { DESIGNS } from './designs.clickhouse.ts'

/** Three ways to count each identity once, on the same traffic, each in a process and a store of its own. JSON. */
const SIZE = { slices: 30, eventsPerSlice: 10_000 }
const COPIES_PERCENT = [0, 1, 10]

const rows: (Omit<DesignInput, 'folder'> & DesignFigures)[] = []
for (const copiesPercent of COPIES_PERCENT) {
  for (const design of DESIGNS) {
    const folder = mkdtempSync(join(tmpdir(), 'tallyline-deduplication-'))
    const child = startChild(new URL('./design-process.ts', import.meta.url), join(folder, 'log'))
    try {
      const input = { design, copiesPercent, ...SIZE }
      process.stderr.write(`${design}, ${copiesPercent} % copies\n`)
      rows.push({ ...input, ...(await child.ask<DesignFigures>('run', { ...input, folder })) })
    } finally {
      await child.stop()
      rmSync(folder, { recursive: true, force: true })
    }
  }
  const totals = new Set(rows.filter((row) => row.copiesPercent === copiesPercent).map((row) => row.total))
  if (totals.size !== 1) throw new Error(`The designs disagree at ${copiesPercent} % copies: ${[...totals].join()}`)
}
process.stdout.write(`${JSON.stringify({ machine: thisMachine(), rows }, null, 1)}\n`)
