import { parseArgs } from 'node:util'
import { FIGURES, type FigureName } from './figure.ts'
import type { Mode } from './measure.ts'
import { FULL, type Sizes, SMOKE } from './sizes.ts'

export const USAGE = `Usage: npm run bench -- [options]

CPU time per event and per invoice of each role, beside the floor of what it is built on, measured in turn in one run.

  --embedded    only on embedded stores
  --servers     only on servers, which are started for it; without these two: both
  --only a,b    only these figures: ${FIGURES.join(', ')}
  --smoke       tiny sizes: shows that the tool works, its figures mean nothing
  --json        one JSON object on stdout instead of the table
  --out FILE    the same JSON into a file
  --readme      writes the table into README.md
  --date DAY    for the table; today when not given
  --help        print this
`

export type Options = {
  modes: Mode[]
  figures: FigureName[]
  sizes: Sizes
  size: 'full' | 'smoke'
  json: boolean
  out: string | undefined
  readme: boolean
  date: string
}

/** Undefined for --help. */
export function readOptions(argv: string[], today: string): Options | undefined {
  const { values } = parseArgs({
    args: argv,
    options: {
      embedded: { type: 'boolean', default: false },
      servers: { type: 'boolean', default: false },
      only: { type: 'string', default: FIGURES.join(',') },
      smoke: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      out: { type: 'string' },
      readme: { type: 'boolean', default: false },
      date: { type: 'string', default: today },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  const both = values.embedded === values.servers
  const modes: Mode[] = both ? ['embedded', 'servers'] : [values.embedded ? 'embedded' : 'servers']
  const figures = readFigures(values.only)
  if (!/^\d{4}-\d{2}-\d{2}$/.test(values.date))
    throw new Error(`--date is '${values.date}': it must be a day like 2026-11-20`)
  if (values.readme && (values.smoke || !both || figures.length < FIGURES.length))
    throw new Error('--readme needs every figure at full size: leave out --smoke, --embedded, --servers and --only')
  const { json, out, readme, date, smoke } = values
  return { modes, figures, sizes: smoke ? SMOKE : FULL, size: smoke ? 'smoke' : 'full', json, out, readme, date }
}

function readFigures(text: string): FigureName[] {
  const wanted = text.split(',').map((name) => name.trim())
  const unknown = wanted.find((name) => !(FIGURES as readonly string[]).includes(name))
  if (unknown !== undefined) throw new Error(`There is no figure '${unknown}': ${FIGURES.join(', ')}`)
  return FIGURES.filter((name) => wanted.includes(name))
}
