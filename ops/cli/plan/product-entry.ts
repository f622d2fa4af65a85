import { type Static, Type } from 'typebox'
import { byName, type EntryDifference, plainDecimal } from './entry.ts'
import { leavesOf, linesOf } from './lines.ts'

const text = Type.String({ minLength: 1 })
const Texts = Type.Record(Type.String({ minLength: 1 }), text)
/** A product as a file has it. What is left out is as the product has it; metadata and prices are all of them. */
export const FileProduct = Type.Object(
  {
    key: text,
    name: text,
    description: Type.Optional(Type.Union([text, Type.Null()])),
    metadata: Type.Optional(Texts),
    prices: Type.Optional(Texts),
    archived: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
)
export type FileProduct = Static<typeof FileProduct>

/** As the doors answer it. */
export const LiveProduct = Type.Object({
  key: Type.String(),
  name: Type.String(),
  description: Type.Union([Type.String(), Type.Null()]),
  metadata: Type.Record(Type.String(), Type.String()),
  prices: Type.Record(Type.String(), Type.String()),
  archived_at: Type.Union([Type.String(), Type.Null()]),
})
export type LiveProduct = Static<typeof LiveProduct>

/** What a product of a file would change. */
export function differenceOfProduct(wanted: FileProduct, live: LiveProduct | undefined): EntryDifference {
  const { key } = wanted
  const before = live === undefined ? undefined : contentOf(live)
  const after: Content = { ...(before ?? NOTHING), ...said(wanted) }
  const lines = linesOf(leavesOf(before ?? NOTHING), leavesOf(after))
  const all = { kind: 'product' as const, key, isNew: live === undefined, lines, refused: [] }
  const path = `/products/${encodeURIComponent(key)}`
  const { archived, ...content } = after
  if (before === undefined) {
    const archive = archived ? [{ method: 'PATCH' as const, path, body: { archived } }] : []
    return { ...all, calls: [{ method: 'POST', path: '/products', body: { key, ...content } }, ...archive] }
  }
  if (lines.length === 0) return { ...all, calls: [] }
  return { ...all, calls: [{ method: 'PATCH', path, body: changesOf(before, after) }] }
}

/** A product as a file says it, with nothing that is not there. */
export function productForFile(live: LiveProduct): FileProduct {
  const { name, description, metadata, prices, archived } = contentOf(live)
  return {
    ...{ key: live.key, name },
    ...(description === null ? {} : { description }),
    ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
    ...(Object.keys(prices).length === 0 ? {} : { prices }),
    ...(archived ? { archived } : {}),
  }
}

type Content = Required<Omit<FileProduct, 'key'>>
const NOTHING: Omit<Content, 'name'> = { description: null, metadata: {}, prices: {}, archived: false }

function contentOf({ name, description, metadata, prices, archived_at: archivedAt }: LiveProduct): Content {
  return { name, description, metadata: byName(metadata), prices: byName(prices), archived: archivedAt !== null }
}

function said({ name, description, metadata, prices, archived }: FileProduct) {
  const plain = prices && Object.entries(prices).map(([currency, amount]) => [currency, plainDecimal(amount)] as const)
  return {
    name,
    ...(description === undefined ? {} : { description }),
    ...(metadata === undefined ? {} : { metadata: byName(metadata) }),
    ...(plain === undefined ? {} : { prices: byName(Object.fromEntries(plain)) }),
    ...(archived === undefined ? {} : { archived }),
  }
}

/**
 * What differs and nothing else: what somebody changes while the difference is looked at, and the file says nothing of, is
 * not taken back.
 */
function changesOf(before: Content, after: Content): object {
  const { name, description, archived } = after
  const metadata = changes(before.metadata, after.metadata)
  const prices = changes(before.prices, after.prices)
  return {
    ...(name === before.name ? {} : { name }),
    ...(description === before.description ? {} : { description }),
    ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
    ...(Object.keys(prices).length === 0 ? {} : { prices }),
    ...(archived === before.archived ? {} : { archived }),
  }
}

/** Members to set, and null for those that go. A name may be that of a method: only own members are members. */
function changes(before: Record<string, string>, after: Record<string, string>): Record<string, string | null> {
  const set = Object.entries(after).filter(([name, text]) => !Object.hasOwn(before, name) || before[name] !== text)
  const gone = Object.keys(before).filter((name) => !Object.hasOwn(after, name))
  return Object.fromEntries([...set, ...gone.map((name) => [name, null] as const)])
}
