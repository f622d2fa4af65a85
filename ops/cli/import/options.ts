import { parseArgs } from 'node:util'
import type { Env } from '../settings.ts'

export type ImportFormat = 'csv' | 'ndjson' | 'parquet'
export type ImportOptions = {
  file: string
  format: ImportFormat
  url: string
  key: string | undefined
  mapFile: string | undefined
  stateFile: string
  backfill: string | undefined
  dryRun: boolean
}

/** What the user has to mend before anything is sent: a file or a mapping. */
export class InputError extends Error {}

/** Wrong use of the command. */
export class UsageError extends Error {}

const DEFAULT_URL = 'http://127.0.0.1:8081'
const FORMATS: Record<string, ImportFormat> = {
  csv: 'csv',
  ndjson: 'ndjson',
  jsonl: 'ndjson',
  parquet: 'parquet',
}

/** The options, or 'help'. Throws UsageError. */
export function readImportOptions(argv: string[], env: Env): ImportOptions | 'help' {
  const { values, positionals } = parse(argv)
  if (values.help) return 'help'
  const [file, ...more] = positionals
  if (file === undefined || more.length > 0) throw new UsageError('Name one file.')
  const url = (values.url ?? (env.TALLYLINE_URL?.trim() || DEFAULT_URL)).replace(/\/+$/, '')
  if (!URL.canParse(url) || !/^https?:/i.test(url)) throw new UsageError(`This is no http address: ${url}`)
  const key = values.key ?? (env.TALLYLINE_KEY?.trim() || undefined)
  const dryRun = values['dry-run'] === true
  if (!key && !dryRun) throw new UsageError('Name an API key: --key, or TALLYLINE_KEY.')
  const { backfill } = values
  if (backfill !== undefined && (backfill === '' || backfill.length > 128))
    throw new UsageError('The name of a backfill has 1 to 128 characters.')
  return {
    ...{ file, url, key, dryRun, backfill, mapFile: values.map },
    format: formatOf(file, values.format),
    stateFile: values.state ?? `${file}.tallyline-import`,
  }
}

function parse(argv: string[]) {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  const options = { url: text, key: text, map: text, format: text, state: text, backfill: text, help: flag }
  try {
    return parseArgs({ args: argv, allowPositionals: true, options: { ...options, 'dry-run': flag } })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

function formatOf(file: string, named: string | undefined): ImportFormat {
  const name = named ?? file.slice(file.lastIndexOf('.') + 1)
  const format = Object.hasOwn(FORMATS, name.toLowerCase()) ? FORMATS[name.toLowerCase()] : undefined
  if (format) return format
  throw new UsageError(`Say with --format what ${file} is: csv, ndjson or parquet.`)
}
