import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'

export type SourceFile = {
  /** Relative to the repository, with forward slashes. */
  path: string
  text: string
  /** The same text, same length, with comments and the insides of strings and regular expressions blanked. */
  code: string
}
export type Import = { specifier: string; typeOnly: boolean }

export const REPOSITORY = normalize(join(import.meta.dirname, '..', '..'))

/** Every TypeScript file of the repository that is tracked or could be. */
export function sourceFiles(): SourceFile[] {
  const options = { cwd: REPOSITORY, encoding: 'utf8' as const, maxBuffer: 64 * 1024 * 1024 }
  const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.ts'], options)
  const paths = [...new Set(listed.split('\n'))].filter((path) => path !== '' && existsSync(join(REPOSITORY, path)))
  return paths.sort().map((path) => {
    const text = readFileSync(join(REPOSITORY, path), 'utf8')
    return { path, text, code: codeOnly(text) }
  })
}

/** What a file imports or re-exports, static and dynamic, in order. */
export function importsOf(file: Pick<SourceFile, 'text' | 'code'>): Import[] {
  const statement =
    /(?:^|[;}\n])\s*(?:import|export)\s+(type\s+)?(?:[\w$*{}\s,]+?\sfrom\s*)?(['"])|\bimport\s*\(\s*(['"])/g
  return [...file.code.matchAll(statement)].flatMap((match) => {
    const quote = match[2] ?? match[3] ?? ''
    const start = match.index + match[0].length
    const end = file.code.indexOf(quote, start)
    if (end < 0) return []
    return [{ specifier: file.text.slice(start, end), typeOnly: match[1] !== undefined }]
  })
}

/** The repository path that a relative specifier means, or undefined for a package. */
export function resolveImport(from: string, specifier: string): string | undefined {
  return specifier.startsWith('.') ? normalize(join(dirname(from), specifier)) : undefined
}

/** The name of the package that a specifier belongs to: `@a/b/c` → `@a/b`. */
export function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}

/** Files that a file names relative to itself, imported or not: a worker or a child process is reached that way. */
export function filesNamedIn(file: SourceFile, exists: (path: string) => boolean): string[] {
  const imported = importsOf(file).map(({ specifier }) => specifier)
  const quoted = [...file.text.matchAll(/['"`]((?:[\w.-]+\/)*[\w.-]+)\.[tj]s['"`]/g)].map((match) => `${match[1]}.ts`)
  const candidates = [...imported.filter((name) => name.startsWith('.')), ...quoted]
  return [...new Set(candidates.map((name) => normalize(join(dirname(file.path), name))))].filter(exists)
}

/**
 * Blanks comments and the insides of strings, templates and regular expressions; what stands in `${…}` stays. A slash
 * begins a regular expression where no value can have ended before it.
 */
export function codeOnly(text: string): string {
  let out = ''
  let position = 0
  /** Brace depth inside each open `${`, innermost last. */
  const holes: number[] = []
  const keep = (count: number) => {
    out += text.slice(position, position + count)
    position += count
  }
  const blankTo = (end: number) => {
    out += text.slice(position, end).replace(/[^\n]/g, ' ')
    position = end
  }
  const template = () => {
    blankTo(endOf(text, position, /`|\$\{/y))
    if (text.startsWith('${', position)) holes.push(0)
    keep(text.startsWith('${', position) ? 2 : 1)
  }
  while (position < text.length) {
    const char = text.charAt(position)
    const pair = text.slice(position, position + 2)
    if (pair === '//') blankTo(endOf(text, position, /\n/y))
    else if (pair === '/*') blankTo(Math.min(endOf(text, position + 2, /\*\//y) + 2, text.length))
    else if (char === "'" || char === '"') {
      keep(1)
      blankTo(endOf(text, position, char === '"' ? /["\n]/y : /['\n]/y))
      keep(1)
    } else if (char === '`') {
      keep(1)
      template()
    } else if (char === '/' && regexMayStart(out)) {
      keep(1)
      blankTo(endOfRegex(text, position))
      keep(1)
    } else if (char === '}' && holes.at(-1) === 0) {
      holes.pop()
      keep(1)
      template()
    } else {
      const depth = holes.length - 1
      if (depth >= 0 && char === '{') holes[depth]! += 1
      if (depth >= 0 && char === '}') holes[depth]! -= 1
      keep(1)
    }
  }
  return out
}

/** Where the sticky pattern first matches from `start` on, stepping over backslash escapes. */
function endOf(text: string, start: number, pattern: RegExp): number {
  for (let at = start; at < text.length; at += text.charAt(at) === '\\' ? 2 : 1) {
    pattern.lastIndex = at
    if (pattern.test(text)) return at
  }
  return text.length
}

function endOfRegex(text: string, start: number): number {
  let inClass = false
  for (let at = start; at < text.length; at += text.charAt(at) === '\\' ? 2 : 1) {
    const char = text.charAt(at)
    if (char === '\n' || (char === '/' && !inClass)) return at
    if (char === '[') inClass = true
    if (char === ']') inClass = false
  }
  return text.length
}

function regexMayStart(before: string): boolean {
  const trimmed = before.trimEnd()
  return trimmed === '' || /[(,=:[!&|?{};+\-*%<>~^]$/.test(trimmed) || /\b(?:return|typeof|case|of|in)$/.test(trimmed)
}
