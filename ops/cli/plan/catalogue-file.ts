import { type Static, Type } from 'typebox'
import { Errors } from 'typebox/value'
import { type Document, LineCounter, parseDocument, stringify, visit } from 'yaml'
import { isQuantityText } from '../../../schemas/quantity.ts'
import { FileCoupon } from './coupon-entry.ts'
import { FileError } from './file-error.ts'
import { type CataloguePlan, FilePlan, fromFile, toFile } from './plan-file.ts'
import { FileProduct } from './product-entry.ts'

const File = Type.Object(
  {
    products: Type.Optional(Type.Array(FileProduct)),
    plans: Type.Optional(Type.Array(FilePlan)),
    coupons: Type.Optional(Type.Array(FileCoupon)),
  },
  { additionalProperties: false, minProperties: 1 },
)

/** What a file says. Products, plans and coupons that it does not name are left alone. */
export type Catalogue = { products: FileProduct[]; plans: CataloguePlan[]; coupons: FileCoupon[] }

const HEAD = `# The catalogue of Tallyline: "tallyline plan diff" compares it with what runs, "tallyline plan apply" makes that like it.\n`

/** @throws FileError for what is no YAML, has a member that is not known or lacks one, or a price that cannot be billed. */
export function parseCatalogueFile(yaml: string): Catalogue {
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
  const { products = [], plans = [], coupons = [] } = value as Static<typeof File>
  refuseTwice('Product', products)
  refuseTwice('Plan', plans)
  refuseTwice('Coupon', coupons)
  return { products, plans: plans.map(fromFile), coupons }
}

function refuseTwice(what: string, entries: readonly { key: string }[]): void {
  const twice = entries.find(({ key }, index) => entries.findIndex((other) => other.key === key) < index)
  if (twice !== undefined) throw new FileError(`${what} ${JSON.stringify(twice.key)} stands here twice.`)
}

/** The same catalogue in the same order always makes the same text. Without products and coupons it says nothing of them. */
export function printCatalogueFile({ products, plans, coupons }: Catalogue): string {
  const all = {
    ...(products.length === 0 ? {} : { products }),
    plans: plans.map(toFile),
    ...(coupons.length === 0 ? {} : { coupons }),
  }
  return HEAD + stringify(all, { lineWidth: 0 })
}

/** A value in which decimals are digit by digit as they stand in the file, also without quotes: there, and nowhere else. */
function withDecimals(plain: unknown, digits: unknown, path: readonly string[] = []): unknown {
  if (!isObject(plain) || !isObject(digits)) return plain
  const members = Object.entries(plain).map(([name, member]): [string, unknown] => {
    const at = [...path, name]
    return [name, isDecimal(at, at.length) ? digits[name] : withDecimals(member, digits[name], at)]
  })
  return Array.isArray(plain) ? members.map(([, member]) => member) : Object.fromEntries(members)
}

/**
 * The price and the quantity of a charge, the limit of an entitlement, which metered ones alone have, what a coupon takes
 * off, and the one-time prices of a product.
 */
function isDecimal([root, , list = '', , member = '', ...more]: readonly string[], depth: number): boolean {
  if (root === 'coupons') return depth === 3 && (list === 'percent' || list === 'amount')
  if (root === 'products') return depth === 3 && list === 'prices'
  if (root !== 'plans' || more.length > 0) return false
  return (
    (list === 'charges' && (member === 'price' || member === 'quantity')) ||
    (list === 'entitlements' && member === 'limit')
  )
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
