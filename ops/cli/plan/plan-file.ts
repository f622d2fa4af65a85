import { type Static, Type } from 'typebox'
import { Errors } from 'typebox/value'
import { type Document, LineCounter, parseDocument, stringify, visit } from 'yaml'
import { type Entitlement, Entitlement as EntitlementShape } from '../../../ingest/entitlements/entitlement.ts'
import { fill } from '../../../invoicer/agreements/plans/create-plan.ts'
import { type AgreedPrice, FEE_TIMES, type PlanContent } from '../../../invoicer/agreements/plans/plan.ts'
import { checkPlanPrice } from '../../../invoicer/billing/rating/price-shape.ts'
import { isQuantityText } from '../../../schemas/quantity.ts'
import { INTERVALS } from '../../../schemas/time/period.ts'
import { FileError } from './file-error.ts'

const strict = { additionalProperties: false }
const text = Type.String({ minLength: 1 })
const FilePlan = Type.Object(
  {
    key: text,
    name: text,
    currency: text,
    interval: Type.Enum(INTERVALS),
    every: Type.Optional(Type.Integer({ minimum: 1 })),
    alignment: Type.Optional(Type.Enum(['calendar', 'anniversary'])),
    proration_basis: Type.Optional(Type.Enum(['second', 'day'])),
    fees: Type.Optional(Type.Enum(FEE_TIMES)),
    grace_seconds: Type.Optional(Type.Integer({ minimum: 0 })),
    charges: Type.Array(
      Type.Object(
        {
          ...{ key: text, name: text, meter: Type.Optional(text), price: Type.Object({ model: Type.String() }) },
          attributes: Type.Optional(Type.Array(text, { minItems: 1 })),
        },
        strict,
      ),
      { minItems: 1 },
    ),
    entitlements: Type.Optional(Type.Record(Type.String(), EntitlementShape)),
  },
  strict,
)
const File = Type.Object({ plans: Type.Array(FilePlan) }, strict)

/** A plan as a file has it. Without entitlements nothing is said about them; an empty map says that there are none. */
export type CataloguePlan = {
  key: string
  content: PlanContent<AgreedPrice>
  entitlements: ReadonlyMap<string, Entitlement> | undefined
  /** It does not say when fees are billed: as the product has it, where it has the plan. */
  feesLeftOut?: true
}

const HEAD = `# Plans of Tallyline. "tallyline plan diff" compares them with the product, "tallyline plan apply" makes it like them.\n`

/** @throws FileError for what is no YAML, has a member that is not known or lacks one, or a price that cannot be billed. */
export function parsePlanFile(yaml: string): CataloguePlan[] {
  const document = parseDocument(yaml, { lineCounter: new LineCounter(), prettyErrors: true })
  const [problem] = [...document.errors, ...document.warnings]
  if (problem !== undefined) throw new FileError(`This is no YAML: ${problem.message}`)
  const plain = unfolded(document)
  visit(document, {
    Scalar: (at, node) => {
      if (at !== 'key' && typeof node.value === 'number' && isQuantityText(node.source ?? '')) node.value = node.source
    },
  })
  const value = withDecimals(plain, unfolded(document))
  const [wrong] = Errors(File, value)
  if (wrong !== undefined) throw new FileError(complaint(wrong))
  const { plans } = value as Static<typeof File>
  const twice = plans.find(({ key }, index) => plans.findIndex((other) => other.key === key) < index)
  if (twice !== undefined) throw new FileError(`Plan ${JSON.stringify(twice.key)} stands here twice.`)
  return plans.map(fromFile)
}

/** The same plans in the same order always make the same text. */
export function printPlanFile(plans: readonly CataloguePlan[]): string {
  return HEAD + stringify({ plans: plans.map(toFile) }, { lineWidth: 0 })
}

/** A plan as the product takes it, in the names of the wire. */
export function toWire({ key, content }: Pick<CataloguePlan, 'key' | 'content'>) {
  const { name, currency, interval, every, alignment, prorationBasis, graceSeconds, fees, charges } = content
  return {
    ...{ key, name, currency, interval, every, alignment },
    proration_basis: prorationBasis,
    grace_seconds: graceSeconds,
    fees,
    charges: charges.map((charge) => ({
      ...{ key: charge.key, name: charge.name },
      ...(charge.meter === null ? {} : { meter: charge.meter }),
      price: modelFirst(charge.price),
      ...(charge.attributes ? { attributes: charge.attributes } : {}),
    })),
  }
}

function fromFile(plan: Static<typeof FilePlan>): CataloguePlan {
  for (const charge of plan.charges) {
    const [wrong] = checkPlanPrice(charge.price)
    if (wrong === undefined) continue
    const where = `price${wrong.path.replaceAll('/', '.')}`
    throw new FileError(
      `Plan ${JSON.stringify(plan.key)}, charge ${JSON.stringify(charge.key)}, ${where}: ${wrong.message}`,
    )
  }
  const { key, name, currency, interval, every, alignment, entitlements } = plan
  const content = fill({
    ...{ name, currency, interval, every, alignment },
    prorationBasis: plan.proration_basis,
    graceSeconds: plan.grace_seconds,
    fees: plan.fees,
    charges: plan.charges.map((charge) => ({ ...charge, meter: charge.meter ?? null })),
  })
  return {
    ...{ key, content, entitlements: entitlements && new Map(Object.entries(entitlements)) },
    ...(plan.fees === undefined ? { feesLeftOut: true as const } : {}),
  }
}

function toFile(plan: CataloguePlan): object {
  const { entitlements } = plan
  if (entitlements === undefined) return toWire(plan)
  const sorted = [...entitlements].sort(([a], [b]) => (a < b ? -1 : 1))
  return { ...toWire(plan), entitlements: Object.fromEntries(sorted) }
}

function modelFirst({ model, ...price }: AgreedPrice): AgreedPrice {
  return { model, ...price }
}

/** A value in which decimals are digit by digit as they stand in the file, also without quotes: there, and nowhere else. */
function withDecimals(plain: unknown, digits: unknown, path: readonly string[] = []): unknown {
  if (!isObject(plain) || !isObject(digits)) return plain
  const members = Object.entries(plain).map(([name, member]): [string, unknown] => {
    const at = [...path, name]
    return [name, isDecimal(at) ? digits[name] : withDecimals(member, digits[name], at)]
  })
  return Array.isArray(plain) ? members.map(([, member]) => member) : Object.fromEntries(members)
}

/** The price of a charge, and the limit of an entitlement, which metered ones alone have. */
function isDecimal([root, , list, , member, ...more]: readonly string[]): boolean {
  if (root !== 'plans' || more.length > 0) return false
  return (list === 'charges' && member === 'price') || (list === 'entitlements' && member === 'limit')
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

/** Aliases that would unfold to more than anybody wrote are an error of the library's. */
function unfolded(document: Document.Parsed): unknown {
  try {
    return document.toJS()
  } catch (error) {
    throw new FileError(`This is no YAML: ${error instanceof Error ? error.message : String(error)}`)
  }
}

/** /plans/0/charges/1 is read as plans.0.charges.1. */
function complaint({ instancePath, keyword, message }: { instancePath: string; keyword: string; message: string }) {
  const where = instancePath === '' ? 'The file' : instancePath.slice(1).replaceAll('/', '.')
  return keyword === 'boolean' ? `${where}: there is no such member.` : `${where} ${message}`
}
