import { describe, expect, test } from 'vitest'
import { codeOnly, importsOf, resolveImport, sourceFiles } from './support/source-files.ts'

type Graph = ReadonlyMap<string, readonly string[]>

const ROLES = ['ingest', 'aggregator', 'invoicer']
/** Inside the invoicer a folder sees itself and those before it; the outbox serves all of them and sees none. */
const INVOICER_ORDER = ['outbox', 'agreements', 'billing', 'collection', 'books']

test('imports go one way', () => {
  const graph = new Map(
    sourceFiles().map((file) => [
      file.path,
      importsOf(file).flatMap(({ specifier }) => resolveImport(file.path, specifier) ?? []),
    ]),
  )
  expect(graph.size).toBeGreaterThan(20)
  expect(violations(graph)).toEqual([])
})

describe('a planted violation is found', () => {
  test.each([
    ['schemas/money.ts', 'ops/host/server.ts'],
    ['schemas/money.ts', 'ingest/ingest.ts'],
    ['ingest/accept/decode.ts', 'aggregator/pump/pump.ts'],
    ['invoicer/billing/run.ts', 'ops/access/key.ts'],
    ['ops/host/server.ts', 'ingest/ingest.ts'],
    ['ops/host/server.ts', 'ops/cli/start.ts'],
    ['ops/cli/start.ts', 'test/support/test-database.ts'],
    ['invoicer/agreements/plans.ts', 'invoicer/billing/run.ts'],
    ['invoicer/billing/run.ts', 'invoicer/books/ledger.ts'],
    ['invoicer/collection/pay.ts', 'invoicer/books/ledger.ts'],
    ['invoicer/outbox/append.ts', 'invoicer/billing/run.ts'],
    ['invoicer/billing/run.ts', 'invoicer/doors/rest/runs.ts'],
    ['ingest/append/batcher.ts', 'ingest/doors/events.ts'],
    ['sdk/typescript/src/tallyline.ts', 'schemas/money.ts'],
    ['ingest/ingest.ts', 'sdk/typescript/src/tallyline.ts'],
    ['ops/cli/start.ts', 'sdk/typescript/src/tallyline.ts'],
  ])('%s imports %s', (from, to) => {
    expect(violations(new Map([[from, [to]]]))).toEqual([`${from} imports ${to}`])
  })
})

describe('what is meant to be is allowed', () => {
  test.each([
    ['ingest/accept/decode.ts', 'schemas/event/identity.ts'],
    ['ingest/ingest.ts', 'ingest/doors/events.ts'],
    ['ops/cli/start.ts', 'invoicer/invoicer.ts'],
    ['ops/cli/start.ts', 'ingest/doors/events.ts'],
    ['ops/host/server.ts', 'ops/access/key.ts'],
    ['invoicer/books/ledger.ts', 'invoicer/collection/pay.ts'],
    ['invoicer/billing/run.ts', 'invoicer/outbox/append.ts'],
    ['invoicer/doors/rest/runs.ts', 'invoicer/billing/run.ts'],
    ['invoicer/doors/rest/runs.ts', 'invoicer/doors/rest/shapes.ts'],
    ['test/e2e/demo.test.ts', 'ingest/doors/events.ts'],
  ])('%s imports %s', (from, to) => {
    expect(violations(new Map([[from, [to]]]))).toEqual([])
  })
})

describe('imports are read as the compiler reads them', () => {
  const read = (text: string) => importsOf({ text, code: codeOnly(text) })

  test('every form of import', () => {
    const text = [
      "import a, { b as c } from './a.ts'",
      "import type { T } from './t.ts'",
      "import {\n  type U,\n  v,\n} from './multi.ts'",
      "import * as all from 'package'",
      "import './effect.ts'",
      "export { x } from './x.ts'",
      "export * from './star.ts'",
      "const lazy = await import('./lazy.ts')",
    ].join('\n')
    expect(read(text).map((one) => one.specifier)).toEqual([
      './a.ts',
      './t.ts',
      './multi.ts',
      'package',
      './effect.ts',
      './x.ts',
      './star.ts',
      './lazy.ts',
    ])
    expect(
      read(text)
        .filter((one) => one.typeOnly)
        .map((one) => one.specifier),
    ).toEqual(['./t.ts'])
  })

  test('what only looks like one', () => {
    const text = [
      "// import './comment.ts'",
      "/* import './block.ts' */",
      `const text = \`\nimport './template.ts'\n\${'import'} \``,
      "const pattern = /['\"]/, after = 'it'",
      "const ratio = a / b / 'c'.length",
      "export const name = 'from'",
      "export type Kind = 'a' | 'b'",
    ].join('\n')
    expect(read(text)).toEqual([])
  })

  test('code keeps its place when strings are blanked', () => {
    const text = `const a = \`x\${b({ c: '}' })}y\` // 'z'\nimport './real.ts'`
    expect(codeOnly(text)).toHaveLength(text.length)
    expect(codeOnly(text)).toContain("b({ c: ' ' })")
    expect(read(text)).toEqual([{ specifier: './real.ts', typeOnly: false }])
  })
})

/** Every import that goes against the order of the house, as `a.ts imports b.ts`. */
function violations(graph: Graph): string[] {
  return [...graph].flatMap(([from, imported]) =>
    imported.filter((to) => !allowed(from, to)).map((to) => `${from} imports ${to}`),
  )
}

function allowed(from: string, to: string): boolean {
  const [fromTop = '', fromFolder = '', ...fromRest] = from.split('/')
  const [toTop = '', toFolder = ''] = to.split('/')
  if (fromTop === 'test' || fromRest.length + Number(fromFolder !== '') === 0) return true
  if (fromTop === 'schemas') return toTop === 'schemas'
  // Published by itself: it knows the wire, and nothing of the product.
  if (fromTop === 'sdk') return toTop === 'sdk'
  if (fromTop === 'ops') {
    // The command puts roles together; the bench measures them from outside and from inside (decision 0004).
    const seesRoles = fromFolder === 'cli' || fromFolder === 'bench'
    if (toTop === 'ops') return toFolder !== 'cli' || seesRoles
    return toTop === 'schemas' || (seesRoles && ROLES.includes(toTop))
  }
  if (!ROLES.includes(fromTop)) return true
  if (toTop === 'schemas') return true
  return toTop === fromTop && allowedInRole(fromTop, fromRest.length > 0 ? fromFolder : '', toFolder)
}

/** A role's own file at its root, such as ingest/ingest.ts, puts the role together and may see everything in it. */
function allowedInRole(role: string, fromFolder: string, toFolder: string): boolean {
  if (fromFolder === '' || fromFolder === 'doors') return true
  if (toFolder === 'doors') return false
  if (role !== 'invoicer') return true
  const [from, to] = [INVOICER_ORDER.indexOf(fromFolder), INVOICER_ORDER.indexOf(toFolder)]
  return from < 0 || to <= from
}
