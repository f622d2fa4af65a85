import { type Static, type TSchema, Type } from 'typebox'
import { Problem } from '../../../schemas/http/problem.ts'
import { type Means, type Page, type Transact, undone } from '../../transaction.ts'

/** What every door of the invoicer is given. */
export type DoorDeps = Means & { transact: Transact }

export const strict = { additionalProperties: false }

/** A text without control characters and lone surrogates, which Postgres could not keep. */
export const Text = (maxLength: number) =>
  Type.String({ minLength: 1, maxLength, pattern: '^[^\\p{Cc}\\p{Cs}]*$', description: 'A text.' })
export const Key = Text(256)
export const Instant = Type.String({ format: 'date-time', description: 'An instant, RFC 3339.' })
export const Id = Type.String({ format: 'uuid' })
export const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()])

export const IdParams = Type.Object({ id: Key }, strict)

/** Of what may be tried before it is done. */
export const Rehearsal = Type.Object(
  {
    dry_run: Type.Optional(
      Type.Union([Type.Literal('true'), Type.Literal('false')], {
        description: 'true: check everything and answer what would be stored, and store nothing.',
      }),
    ),
  },
  strict,
)

export function transactOf({ transact }: DoorDeps, { dry_run: dryRun }: Static<typeof Rehearsal>): Transact {
  return dryRun === 'true' ? undone(transact) : transact
}

/** Lists are read in pages, in the order of creation. `after` is the `next` of the page before. */
export const pageMembers = {
  limit: Type.Optional(Type.String({ pattern: '^[1-9][0-9]{0,2}$', description: 'At most so many, 1 to 999.' })),
  after: Type.Optional(Id),
}
const DEFAULT_LIMIT = 100

export function pageOf(query: { limit?: string; after?: string }): Page {
  return { limit: query.limit === undefined ? DEFAULT_LIMIT : Number(query.limit), after: query.after ?? null }
}

/** The cursor for the next page; null when this one is not full, so there is nothing after it. */
export function nextOf(items: readonly { id: string }[], page: Page): string | null {
  return items.length < page.limit ? null : (items.at(-1)?.id ?? null)
}

export const Next = Nullable(Id)

/** The answer of a list: a page of items under the name of what they are, and the cursor for the next one. */
export function listOf<Name extends string, Item extends TSchema>(name: Name, item: Item, example: unknown) {
  const items = { [name]: Type.Array(item) } as { [Key in Name]: Type.TArray<Item> }
  return Type.Object({ ...items, next: Next }, { examples: [{ [name]: [example], next: null }] })
}

/** @throws Problem invalid_request for a text of the right form that names no instant, such as 23:59:60. */
export function instantMs(text: string, path: string): number {
  const ms = Date.parse(text)
  if (!Number.isNaN(ms)) return ms
  throw new Problem('invalid_request', 'The request is not valid.', {
    errors: [{ path, message: 'This is not an instant.' }],
  })
}

export function instantText(ms: number): string {
  return new Date(ms).toISOString()
}

export function instantTextOrNull(ms: number | null): string | null {
  return ms === null ? null : instantText(ms)
}
