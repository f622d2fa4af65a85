import { expect, test } from 'vitest'
import { filesNamedIn, importsOf, packageOf, type SourceFile, sourceFiles } from './support/source-files.ts'

const PRODUCT = /^(schemas|ingest|aggregator|invoicer|ops)\//
const TOUCHES_THE_WORLD = /\.(kafka|redis|clickhouse|chdb|postgres|lmdb|http|grpc|smtp)\.ts$/
const CLIENT_LIBRARIES = [
  'pg',
  'lmdb',
  'chdb',
  '@clickhouse/client',
  'kafkajs',
  '@platformatic/kafka',
  'ioredis',
  'nodemailer',
]
const MAX_FILE_LINES = 400
const MAX_FUNCTION_LINES = 70
const MAX_LINE_LENGTH = 140
const ANY = /(?:[:<|&]|\bas)\s*any\b|,\s*any\s*>|\bany\[\]/

const files = sourceFiles()
const product = files.filter((file) => PRODUCT.test(file.path))

test('the files of the repository are found', () => {
  expect(files.map((file) => file.path)).toContain('test/tidy.test.ts')
  expect(product.length).toBeGreaterThan(20)
})

test('nothing is typed any', () => {
  expect(linesMatching(files, ANY)).toEqual([])
  const guilty = 'const a: any = 1\nconst b = c as any\nlet m: Map<string, any>\n'
  const innocent = 'const many: Company = any1\nf((any, b) => b)\n'
  expect(linesMatching([planted(guilty + innocent)], ANY)).toEqual(['planted.ts:1', 'planted.ts:2', 'planted.ts:3'])
})

test('nothing is left for later', () => {
  // Put together, so that this file does not find itself.
  const marks = new RegExp(`\\b(?:FIX${'ME'}|TO${'DO'})\\b`)
  const found = files.flatMap((file) => numbered(file.text, (line) => marks.test(line)).map((n) => `${file.path}:${n}`))
  expect(found).toEqual([])
})

test('files, lines and functions are short', () => {
  const long = files.filter((file) => file.text.split('\n').length > MAX_FILE_LINES + 1).map((file) => file.path)
  const wide = files.flatMap((file) =>
    numbered(file.text, (line) => line.length > MAX_LINE_LENGTH).map((n) => `${file.path}:${n}`),
  )
  expect({ long, wide, functions: product.flatMap(longFunctions) }).toEqual({ long: [], wide: [], functions: [] })
})

test('a long function would be found', () => {
  const body = '  call()\n'.repeat(MAX_FUNCTION_LINES)
  expect(longFunctions(planted(`export function long(\n  a: string,\n): void {\n${body}}\n`))).toEqual(['planted.ts:1'])
  expect(longFunctions(planted(`const long = async () => {\n${body}}\n`))).toEqual(['planted.ts:1'])
  expect(longFunctions(planted(`const table = {\n${body}}\n`))).toEqual([])
})

test('only configuration files have default exports', () => {
  const others = files.filter((file) => !/^[^/]+\.config\.ts$/.test(file.path))
  expect(linesMatching(others, /^\s*export\s+default\b|\bas\s+default\b/)).toEqual([])
})

test('decimal.js is configured in one place and imported nowhere else', () => {
  const found = product.filter((file) => importsOf(file).some(({ specifier }) => specifier === 'decimal.js'))
  expect(found.map((file) => file.path).filter((path) => path !== 'schemas/quantity.ts')).toEqual([])
})

test('only files named after a technology import its client library', () => {
  const allowed = (path: string) => TOUCHES_THE_WORLD.test(path) || path.startsWith('ops/embedded/')
  const found = product
    .filter((file) => !allowed(file.path))
    .flatMap((file) => importsOf(file).map((one) => ({ ...one, path: file.path })))
    .filter((one) => !one.typeOnly && CLIENT_LIBRARIES.includes(packageOf(one.specifier)))
  expect(found.map((one) => `${one.path} imports ${one.specifier}`)).toEqual([])
})

test('every file of the product is reachable from the command or from a test', () => {
  expect(unreachable(files)).toEqual([])
})

test('an unreachable file would be found', () => {
  const synthetic = [
    planted("import './b.ts'", 'ops/cli/tallyline.ts'),
    planted("new URL('./c.ts', import.meta.url)", 'ops/cli/b.ts'),
    planted('', 'ops/cli/c.ts'),
    planted("import '../../ops/cli/c.ts'", 'ops/host/lonely.ts'),
  ]
  expect(unreachable(synthetic)).toEqual(['ops/host/lonely.ts'])
})

const ENTRY_POINTS = ['ops/cli/tallyline.ts', 'ops/bench/bench.ts', 'ops/bench/deduplication/compare.ts']

function unreachable(all: SourceFile[]): string[] {
  const byPath = new Map(all.map((file) => [file.path, file]))
  const isRoot = (path: string) => !PRODUCT.test(path) || ENTRY_POINTS.includes(path)
  const waiting = all.filter((file) => isRoot(file.path))
  const reached = new Set(waiting.map((file) => file.path))
  for (let file = waiting.pop(); file; file = waiting.pop()) {
    for (const path of filesNamedIn(file, (candidate) => byPath.has(candidate) && !reached.has(candidate))) {
      reached.add(path)
      waiting.push(byPath.get(path)!)
    }
  }
  return all.map((file) => file.path).filter((path) => !reached.has(path))
}

/** The formatter puts a function's closing brace at the indentation of the line that began it. */
function longFunctions(file: SourceFile): string[] {
  const lines = file.code.split('\n')
  return lines.flatMap((line, index) => {
    const begins = /\bfunction\b|=>\s*\{$|=>\s*$|^\s*(?:async\s+)?[\w$]+\([^)]*\)[^=]*\{$/.test(line)
    if (!begins || /^\s*(?:if|for|while|switch|catch)\b/.test(line)) return []
    const indent = line.length - line.trimStart().length
    const opened = line.trimEnd().endsWith('{')
    const close = new RegExp(opened ? `^ {${indent}}\\}` : `^ {${indent}}\\}[^{]*$`)
    const length = lines.slice(index + 1).findIndex((later) => close.test(later)) + 2
    return length > MAX_FUNCTION_LINES ? [`${file.path}:${index + 1}`] : []
  })
}

function linesMatching(some: SourceFile[], pattern: RegExp): string[] {
  return some.flatMap((file) => numbered(file.code, (line) => pattern.test(line)).map((n) => `${file.path}:${n}`))
}

function numbered(text: string, wanted: (line: string) => boolean): number[] {
  return text.split('\n').flatMap((line, index) => (wanted(line) ? [index + 1] : []))
}

function planted(text: string, path = 'planted.ts'): SourceFile {
  return { path, text, code: text }
}
