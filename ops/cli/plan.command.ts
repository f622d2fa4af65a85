import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { Type } from 'typebox'
import { Check } from 'typebox/value'
import { faultOfDate } from '../../invoicer/agreements/plans/effective-from.ts'
import { floorToMinute } from '../../schemas/time/period.ts'
import { type CatalogueClient, createCatalogueClient } from './plan/catalogue-client.ts'
import { differenceOf, isNothing, type PlanDifference } from './plan/difference.ts'
import { differencesText } from './plan/difference-text.ts'
import { FileError } from './plan/file-error.ts'
import { parsePlanFile, printPlanFile } from './plan/plan-file.ts'
import type { Env } from './settings.ts'

const HELP = `Usage: tallyline plan export [--plan KEY …] > FILE.yaml
       tallyline plan diff FILE.yaml [--effective-from TIME]
       tallyline plan apply FILE.yaml [--yes] [--effective-from TIME]

Plans of a running product as a file: with their charges and entitlements, in their latest version.
  export   prints them, all or those named
  diff     says what apply would change or refuse; ends with 0 if nothing, 1 if something, 2 if it cannot say
  apply    makes the product like the file, after it has said what changes and asked. A plan that is not there is
           created, and in effect always; a changed one gets a new version, in effect from --effective-from on, or from
           the minute in which the product stores it. Subscriptions and changes that are made after it and begin from
           then on take it. Nobody who is subscribed is moved to it, so no period that runs is priced anew.
           Entitlements of a plan hold at once for everybody on it. Plans that the file does not name are left alone;
           so are the entitlements of a plan without that member.

  --url URL               default: TALLYLINE_URL, or http://127.0.0.1:8081
  --key KEY               default: TALLYLINE_KEY; with billing:plans:read and billing:quotas:read, for apply also
                          billing:plans:create and billing:quotas:create
  --plan KEY              may be repeated
  --effective-from TIME   when new versions take effect: RFC 3339 with an offset, such as 2027-01-01T00:00:00Z, taken
                          to the whole minute; not in the past, and five years ahead at most
  --yes                   do not ask; without it and without a terminal nothing is applied

Refused, and then nothing is applied: another currency, interval, every, alignment or proration_basis for a plan that is
there, another date for a version that waits for its own, and what cannot be billed. export and apply end with 0 when
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
    const differences = await differencesFrom(client, options, deps.now())
    deps.stdout.write(differencesText(differences, options.effectiveFromMs))
    if (verb === 'diff') return differences.every(isNothing) ? 0 : 1
    return await apply(client, differences, options, deps)
  } catch (error) {
    deps.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    // Of diff 1 says that it found something.
    return error instanceof FileError || verb === 'diff' ? 2 : 1
  }
}

async function exportPlans(client: CatalogueClient, { plans }: Options, { stdout, stderr, now }: PlanDeps) {
  const keys = plans === undefined ? await client.keys() : new Set(plans)
  const found = []
  for (const key of keys) {
    const live = await client.read(key)
    if (live === undefined) throw new FileError(`There is no plan ${JSON.stringify(key)}.`)
    const { content, version, effectiveFromMs, entitlements } = live
    found.push({ key, content, entitlements })
    if (effectiveFromMs !== null && effectiveFromMs > now()) {
      const from = new Date(effectiveFromMs).toISOString()
      stderr.write(`plan ${JSON.stringify(key)}: version ${version}, which this is, takes effect at ${from}\n`)
    }
  }
  stdout.write(printPlanFile(found))
  return 0
}

async function differencesFrom(client: CatalogueClient, { file, effectiveFromMs }: Options, nowMs: number) {
  const differences: PlanDifference[] = []
  for (const plan of parsePlanFile(readText(file))) {
    differences.push(differenceOf(plan, await client.read(plan.key), { nowMs, effectiveFromMs }))
  }
  return differences
}

/** Everything is checked by the product before anything is stored; killed between, it goes on when it is called again. */
async function apply(
  client: CatalogueClient,
  differences: readonly PlanDifference[],
  { yes, effectiveFromMs }: Options,
  { stdout, stderr, confirm }: PlanDeps,
): Promise<number> {
  const wanted = differences.filter((difference) => !isNothing(difference))
  if (differences.some(({ refused }) => refused.length > 0)) {
    stderr.write('Nothing was applied: something is refused.\n')
    return 1
  }
  if (wanted.length === 0) return 0
  const stored = wanted.filter(({ version }) => version !== null)
  for (const difference of stored) await client.store(difference, effectiveFromMs, true)
  if (!yes && !(await confirm?.('Apply this?'))) {
    stderr.write(`Nothing was applied${confirm === undefined ? ': say --yes' : ''}.\n`)
    return 1
  }
  for (const difference of wanted) {
    if (difference.version !== null) await client.store(difference, effectiveFromMs, false)
    await client.storeEntitlements(difference)
  }
  stdout.write(`Applied: ${wanted.length} ${wanted.length === 1 ? 'plan' : 'plans'}.\n`)
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
  const effectiveFromMs = effectiveFrom(values['effective-from'], nowMs)
  return { help, verb, file: file ?? '', url, key, plans: values.plan, yes: values.yes === true, effectiveFromMs }
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
