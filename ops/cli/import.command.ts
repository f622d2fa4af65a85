import { existsSync, readFileSync, statSync } from 'node:fs'
import { Type } from 'typebox'
import { Check } from 'typebox/value'
import { eventJson } from './import/batches.ts'
import { type FileFacts, fileFacts } from './import/file-facts.ts'
import { createImportClient, type ImportClient, refused } from './import/import-client.ts'
import { checkMapping, type Mapping, mappingOfColumns, parseMapping } from './import/mapping.ts'
import { type ImportOptions, InputError, readImportOptions, UsageError } from './import/options.ts'
import { createProgress, type Writable } from './import/progress.ts'
import { openNdjson } from './import/read-ndjson.ts'
import { openTable } from './import/read-table.clickhouse.ts'
import type { RowSource } from './import/row.ts'
import { runImport, schemaReader } from './import/run-import.ts'
import { openScratch } from './import/scratch.ts'
import { fingerprintOf, type ImportState, openState, type Totals } from './import/state.ts'
import { rowMapper } from './import/to-event.ts'
import type { Env } from './settings.ts'

const USAGE = `Usage: tallyline import FILE [options]

Sends the rows of a CSV (with a header), NDJSON or Parquet file as usage events to a running product.

  --url URL         default: TALLYLINE_URL, or http://127.0.0.1:8081
  --key KEY         default: TALLYLINE_KEY; with billing:usage:create and billing:event-types:read, for events
                    older than 35 days and --backfill also billing:usage:backfill
  --map FILE        which columns are what; without it columns called id, source, type, subject, time and data.…
                    { "source": {"constant": "export"}, "type": {"constant": "llm.request"}, "subject": "customer",
                      "time": {"column": "at", "unit": "s"}, "data": {"tokens": {"column": "n", "type": "number"}} }
  --backfill NAME   open a backfill of that name, append to it and close it: it can be reverted as a whole
  --format FORMAT   csv, ndjson or parquet; default: as the file's name ends
  --state FILE      how far it came; default: FILE.tallyline-import
  --dry-run         check the mapping and show the first three events; nothing is sent
  --help            print this

A killed import goes on where it was when it is started again. Rows without an id get one made of the file's content,
their number and their time, so that importing a file again counts nothing twice. Refused rows stand with the reason
in FILE.rejected.ndjson. CSV and Parquet are read by the embedded ClickHouse, through a table in TMPDIR.
Ends with 0 when all rows were accepted, 1 when some were not, 2 when the command was used wrongly.
`
const SHOWN_EVENTS = 3

export type ImportDeps = { stdout: Writable; stderr: Writable; isTty: boolean; now: () => number }

export async function importCommand(argv: string[], env: Env, deps: ImportDeps): Promise<number> {
  try {
    const options = readImportOptions(argv, env)
    if (options === 'help') {
      deps.stdout.write(USAGE)
      return 0
    }
    return await withRows(options, deps, (source, facts, mapping) =>
      options.dryRun ? dryRun(options, deps, source, facts, mapping) : send(options, deps, source, facts, mapping),
    )
  } catch (error) {
    const wrongUse = error instanceof UsageError
    deps.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${wrongUse ? `\n${USAGE}` : ''}`)
    return wrongUse || error instanceof InputError ? 2 : 1
  }
}

type WithRows = (source: RowSource, facts: FileFacts, mapping: Mapping | undefined) => Promise<number>

/** Opens the file and holds the mapping against it. What cannot be read is wrong use. */
async function withRows(options: ImportOptions, deps: ImportDeps, work: WithRows): Promise<number> {
  const { file, mapFile, backfill } = options
  const wanted = mapFile === undefined ? undefined : parseMapping(readText(mapFile))
  if (!existsSync(file) || !statSync(file).isFile()) throw new InputError(`There is no file ${file}.`)
  const facts = await fileFacts(file)
  if (facts.lines === 0) throw new InputError(`${file} is empty.`)
  const scratch = openScratch()
  try {
    const source = await openRows(options, deps, facts, scratch.folder)
    try {
      const mapping = wanted ?? (source.columns ? mappingOfColumns(source.columns) : undefined)
      if (mapping) checkMapping(mapping, source.columns, backfill !== undefined)
      return await work(source, facts, mapping)
    } finally {
      await source.close()
    }
  } finally {
    scratch.remove()
  }
}

async function openRows(
  { file, format, dryRun: dry }: ImportOptions,
  { stderr }: ImportDeps,
  facts: FileFacts,
  scratch: string,
): Promise<RowSource> {
  if (format === 'ndjson') return openNdjson(file, facts.lines)
  stderr.write(`import: reading ${file}\n`)
  try {
    return await openTable(file, format, scratch, dry ? SHOWN_EVENTS : undefined)
  } catch (error) {
    throw unreadable(`${file} as ${format}`, error)
  }
}

function unreadable(what: string, error: unknown): InputError {
  const { message, cause } = error instanceof Error ? error : new Error(String(error))
  const missing = (cause as { code?: unknown } | undefined)?.code === 'ERR_MODULE_NOT_FOUND'
  const engine =
    'the embedded ClickHouse (chdb) is not installed. Run "npm ci" without --omit=optional, or send NDJSON.'
  return new InputError(`Cannot read ${what}: ${missing ? engine : message}`)
}

async function dryRun(
  { url, key, backfill }: ImportOptions,
  { stdout }: ImportDeps,
  source: RowSource,
  { sha256 }: FileFacts,
  mapping: Mapping | undefined,
): Promise<number> {
  const map = rowMapper(mapping, { fileSha256: sha256, ownsSource: backfill !== undefined })
  const schemaOf = key === undefined ? async () => undefined : schemaReader(createImportClient({ url, key }))
  let shown = 0
  for await (const row of source.rows(0)) {
    const mapped = map(row)
    if ('event' in mapped) stdout.write(`${await eventJson(mapped.event, schemaOf)}\n`)
    else stdout.write(`row ${row.row} cannot be sent: ${mapped.path} ${mapped.message}\n`)
    if (++shown === SHOWN_EVENTS) break
  }
  return 0
}

async function send(
  options: ImportOptions,
  deps: ImportDeps,
  source: RowSource,
  { sha256 }: FileFacts,
  mapping: Mapping | undefined,
): Promise<number> {
  const { file, url, backfill, key = '' } = options
  const client = createImportClient({ url, key })
  const rejectedFile = `${file}.rejected.ndjson`
  const state = resume(options, deps, rejectedFile, { sha256, mapping: JSON.stringify(mapping ?? null) })
  const opened = backfill === undefined ? undefined : await openBackfill(client, backfill)
  const progress = createProgress(deps.stderr, deps.isTty, deps.now)
  const map = rowMapper(mapping, { fileSha256: sha256, ownsSource: opened !== undefined })
  const path = opened ? `/backfills/${opened}/events` : '/events'
  await runImport({ client, source, map, state, path, onRows: progress.rows })
  progress.end()
  if (opened) await closeBackfill(client, opened)
  state.finish()
  return tell(deps.stdout, state.totals(), rejectedFile)
}

function resume(
  { stateFile, url, key = '', backfill = '' }: ImportOptions,
  { stderr }: ImportDeps,
  rejectedFile: string,
  parts: Record<string, string>,
): ImportState {
  // A key's public part stands for its tenant.
  const keyId = key.split('_').slice(0, 2).join('_')
  const state = openState(stateFile, rejectedFile, fingerprintOf({ ...parts, url, keyId, backfill }))
  if (!state) {
    const differing = 'file, mapping, product, key or backfill differ'
    throw new InputError(
      `${stateFile} is the state of another import (${differing}): remove it, or name another with --state.`,
    )
  }
  if (state.rowsDone() > 0) stderr.write(`import: going on after row ${state.rowsDone()}\n`)
  return state
}

const Backfill = Type.Object({ id: Type.String() })

/** The same name opens the same backfill, so a killed import finds its own. */
async function openBackfill(client: ImportClient, name: string): Promise<string> {
  const answer = await client.call('POST', '/backfills', { name, source: `backfill:${name}` })
  if (answer.status < 300 && Check(Backfill, answer.body)) return answer.body.id
  throw refused('Opening the backfill', answer)
}

async function closeBackfill(client: ImportClient, id: string): Promise<void> {
  const answer = await client.call('POST', `/backfills/${id}/close`)
  if (answer.status >= 300) throw refused('Closing the backfill', answer)
}

function tell(stdout: Writable, totals: Totals, rejectedFile: string): number {
  const { accepted, duplicate, rejected, quota_exceeded: overQuota, broken } = totals
  stdout.write(
    `accepted ${accepted}, duplicate ${duplicate}, rejected ${rejected}, quota exceeded ${overQuota}, not sent ${broken}\n`,
  )
  if (rejected + overQuota + broken === 0) return 0
  stdout.write(`Refused rows: ${rejectedFile}\n`)
  return 1
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new InputError(`Cannot read the mapping: ${error instanceof Error ? error.message : String(error)}`)
  }
}
