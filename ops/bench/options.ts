import { parseArgs } from 'node:util'
import { FIGURES, type FigureName } from './figure.ts'
import type { Mode } from './measure.ts'
import { SIZES, type SizeName, type Sizes } from './sizes.ts'

export const USAGE = `Usage: npm run bench -- [options]

CPU time per event and per invoice of each role, beside the floor of what it is built on, measured in turn in one run.

  --embedded    only on embedded stores
  --servers     only on servers, which are started for it; without these two: both
  --only a,b    only these figures: ${FIGURES.join(', ')}
  --smoke       tiny sizes: shows that the tool works, its figures mean nothing
  --full        the sizes of the issue's table: hours, one figure at a time (--only)
  --json        one JSON object on stdout instead of the table
  --out FILE    the same JSON into a file
  --from a,b    measures nothing: puts together what --out wrote in earlier runs; of the same figure the last one stands
  --readme      writes the table into README.md
  --date DAY    for the table; today when not given
  --help        print this
`

export type Options = {
  modes: Mode[]
  figures: FigureName[]
  sizes: Sizes
  size: SizeName
  json: boolean
  out: string | undefined
  /** Files to put together in place of measuring. */
  from: string[] | undefined
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
      full: { type: 'boolean', default: false },
      from: { type: 'string' },
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
  const from = values.from?.split(',').map((file) => file.trim())
  if (values.readme && !from && (values.smoke || !both || figures.length < FIGURES.length))
    throw new Error('--readme needs every figure at its size: leave out --smoke, --embedded, --servers and --only')
  const { json, out, readme, date } = values
  const size = sizeOf(values)
  return { modes, figures, sizes: SIZES[size], size, json, out, from, readme, date }
}

function sizeOf({ smoke, full }: { smoke: boolean; full: boolean }): SizeName {
  if (smoke && full) throw new Error('--smoke and --full are two sizes: give one of them')
  if (smoke) return 'smoke'
  return full ? 'full' : 'default'
}

function readFigures(text: string): FigureName[] {
  const wanted = text.split(',').map((name) => name.trim())
  const unknown = wanted.find((name) => !(FIGURES as readonly string[]).includes(name))
  if (unknown !== undefined) throw new Error(`There is no figure '${unknown}': ${FIGURES.join(', ')}`)
  return FIGURES.filter((name) => wanted.includes(name))
}
