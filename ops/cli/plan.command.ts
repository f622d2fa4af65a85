import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { Type } from 'typebox'
import { Check } from 'typebox/value'
import { faultOfDate } from '../../invoicer/agreements/plans/effective-from.ts'
import { floorToMinute } from '../../schemas/time/period.ts'
import { type CatalogueClient, createCatalogueClient } from './plan/catalogue-client.ts'
import { parseCatalogueFile, printCatalogueFile } from './plan/catalogue-file.ts'
import {
  type Changes,
  changesOf,
  changesText,
  countText,
  exported,
  isRefused,
  rehearse,
  store,
  toDo,
} from './plan/changes.ts'
import { FileError } from './plan/file-error.ts'
import type { Env } from './settings.ts'

const HELP = `Usage: tallyline plan export [--plan KEY …] > FILE.yaml
       tallyline plan diff FILE.yaml [--effective-from TIME]
       tallyline plan apply FILE.yaml [--yes] [--effective-from TIME]

The catalogue of a running product as a file: products with their one-time prices, plans in their latest version with
their charges and entitlements, coupons.
  export   prints it: all of it, or the plans that are named and the products that they are of
  diff     says what apply would change or refuse; ends with 0 if nothing, 1 if something, 2 if it cannot say
  apply    makes the product like the file, after it has said what changes and asked. A plan that is not there is
           created, and in effect always; a changed one gets a new version, in effect from --effective-from on, or from
           the minute in which the product stores it. Subscriptions and changes that are made after it and begin from
           then on take it. Nobody who is subscribed is moved to it, so no period that runs is priced anew.
           Entitlements of a plan hold at once for everybody on it, and so does its place in the catalogue: product and
           archived. What the file does not name is left alone, and so is a member that it leaves out: entitlements,
           product and archived of a plan; description, metadata, prices and archived of a product. Nothing is deleted:
           archived: true says that it is sold no more, and what is subscribed to goes on.

  --url URL               default: TALLYLINE_URL, or http://127.0.0.1:8081
  --key KEY               default: TALLYLINE_KEY; with billing:plans:read and billing:quotas:read, for apply also
                          billing:plans:create and billing:quotas:create; for coupons also billing:coupons:read and
                          :create
  --plan KEY              may be repeated
  --effective-from TIME   when new versions take effect: RFC 3339 with an offset, such as 2027-01-01T00:00:00Z, taken
                          to the whole minute; not in the past, and five years ahead at most
  --yes                   do not ask; without it and without a terminal nothing is applied

Refused, and then nothing is applied: another currency, interval, every, alignment or proration_basis for a plan that is
there, another date for a version that waits for its own, another content of a coupon that is there, a product that is
neither there nor in the file, and what cannot be billed. export and apply end with 0 when
all is done, 1 when not, 2 when file or command are wrong.
`
const RFC_3339 = Type.String({ format: 'date-time' })
const DEFAULT_URL = 'http://127.0.0.1:8081'

type Writable = { write: (text: string) => unknown }
export type PlanDeps = {
  stdout: Writable
  stderr: Writable
  now: () => number
  /** Asks whoever sits there; undefined where nobody does. */
  confirm: ((question: string) => Promise<boolean>) | undefined
}
type Options = ReturnType<typeof readOptions>

export async function planCommand(argv: string[], env: Env, deps: PlanDeps): Promise<number> {
  let verb: string | undefined
  try {
    const options = readOptions(argv, env, deps.now())
    verb = options.verb
    if (options.help) {
      deps.stdout.write(HELP)
      return 0
    }
    const client = createCatalogueClient(options)
    if (verb === 'export') return await exportPlans(client, options, deps)
    const dates = { nowMs: deps.now(), effectiveFromMs: options.effectiveFromMs }
    const changes = await changesOf(client, parseCatalogueFile(readText(options.file)), dates)
    deps.stdout.write(changesText(changes, options.effectiveFromMs))
    if (verb === 'diff') return countText(toDo(changes)) === '' ? 0 : 1
    return await apply(client, changes, options, deps)
  } catch (error) {
    deps.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    // Of diff 1 says that it found something.
    return error instanceof FileError || verb === 'diff' ? 2 : 1
  }
}

async function exportPlans(client: CatalogueClient, { plans }: Options, { stdout, stderr, now }: PlanDeps) {
  const catalogue = await exported(client, plans, (key, version, effectiveFromMs) => {
    if (effectiveFromMs <= now()) return
    const from = new Date(effectiveFromMs).toISOString()
    stderr.write(`plan ${JSON.stringify(key)}: version ${version}, which this is, takes effect at ${from}\n`)
  })
  stdout.write(printCatalogueFile(catalogue))
  return 0
}

/** Everything is checked by the product before anything is stored; killed between, it goes on when it is called again. */
async function apply(
  client: CatalogueClient,
  changes: Changes,
  { yes, effectiveFromMs }: Options,
  { stdout, stderr, confirm }: PlanDeps,
): Promise<number> {
  if (isRefused(changes)) {
    stderr.write('Nothing was applied: something is refused.\n')
    return 1
  }
  const wanted = toDo(changes)
  const count = countText(wanted)
  if (count === '') return 0
  await rehearse(client, wanted, effectiveFromMs)
  if (!yes && !(await confirm?.('Apply this?'))) {
    stderr.write(`Nothing was applied${confirm === undefined ? ': say --yes' : ''}.\n`)
    return 1
  }
  await store(client, wanted, effectiveFromMs)
  stdout.write(`Applied: ${count}.\n`)
  return 0
}

function readOptions(argv: string[], env: Env, nowMs: number) {
  const { values, positionals } = parse(argv)
  const [verb, file, ...more] = positionals
  const help = values.help === true
  const known = verb === 'export' ? file === undefined : (verb === 'diff' || verb === 'apply') && file !== undefined
  if (!help && (!known || more.length > 0)) throw new FileError(HELP)
  const url = (values.url ?? (env.TALLYLINE_URL?.trim() || DEFAULT_URL)).replace(/\/+$/, '')
  if (!URL.canParse(url) || !/^https?:/i.test(url)) throw new FileError(`This is no http address: ${url}`)
  const key = values.key ?? env.TALLYLINE_KEY?.trim() ?? ''
  if (!help && key === '') throw new FileError('Name an API key: --key, or TALLYLINE_KEY.')
  const plans = values.plan === undefined ? undefined : [values.plan].flat()
  const effectiveFromMs = effectiveFrom(values['effective-from'], nowMs)
  return { help, verb, file: file ?? '', url, key, plans, yes: values.yes === true, effectiveFromMs }
}

function effectiveFrom(given: string | undefined, nowMs: number): number | undefined {
  if (given === undefined) return undefined
  const ms = Check(RFC_3339, given) ? floorToMinute(Date.parse(given)) : Number.NaN
  if (Number.isNaN(ms)) {
    throw new FileError(`This is no time: ${given}. Send RFC 3339 with its offset, such as 2027-01-01T00:00:00Z.`)
  }
  const fault = faultOfDate(ms, nowMs)
  if (fault !== undefined) throw new FileError(`--effective-from: ${fault}`)
  return ms
}

function parse(argv: string[]) {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  const options = { url: text, key: text, plan: { ...text, multiple: true }, 'effective-from': text }
  try {
    return parseArgs({ args: argv, allowPositionals: true, options: { ...options, yes: flag, help: flag } })
  } catch (error) {
    throw new FileError(error instanceof Error ? error.message : String(error))
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new FileError(`Cannot read the file: ${error instanceof Error ? error.message : String(error)}`)
  }
}
