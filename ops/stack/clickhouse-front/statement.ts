import { serverError } from './errors.ts'

/** What the front must know of a statement before the engine sees it. Text is latin1: an index is a byte. */
export type Statement = {
  /**
   * `select` can be streamed; `read` changes nothing; `insert` is followed by rows in a format; `session` would
   * change the connection it runs on; `write` is all else.
   */
  kind: 'select' | 'read' | 'insert' | 'session' | 'write'
  /** The statement's text; for `insert` without its FORMAT clause. */
  text: string
  /** The FORMAT clause's: of the answer, or of an insert's rows. */
  format: string | undefined
  /** For `insert`: where its rows begin. */
  rowsAt: number
  /** Types of the declared `{name:Type}` parameters. */
  parameterTypes: ReadonlyMap<string, string>
}

const NOT_A_FORMAT = /^(?:from|as|in|is|and|or|not|like|then|else|end|asc|desc|where|order|group|settings)$/i

/** Reads a statement, or the head of one that is followed by rows. */
export function readStatement(source: string): Statement {
  const text = source.replace(/^\uFEFF/, '')
  const code = blank(text)
  const insert = readInsert(text, code)
  if (insert) return insert
  const rest = code.search(/;\s*\S/)
  if (rest >= 0) throw serverError(62, 'SYNTAX_ERROR', 'Syntax error (Multi-statements are not allowed)')
  refuseLocalFiles(code)
  const parameterTypes = declaredTypes(code)
  const format = /\bFORMAT\s+(\w+)\s*(?:\bSETTINGS\b[^()]*)?;?\s*$/i.exec(code)?.[1]
  return { kind: kindOf(code), text, format, rowsAt: text.length, parameterTypes }
}

function kindOf(code: string): Statement['kind'] {
  const word = /^[\s(]*(\w+)/.exec(code)?.[1]?.toUpperCase() ?? ''
  if (word === 'WITH') return /\bINSERT\s+INTO\b/i.test(code) ? 'write' : 'select'
  if (word === 'SELECT') return 'select'
  if (word === 'SET' || word === 'USE') return 'session'
  return ['SHOW', 'DESCRIBE', 'DESC', 'EXISTS', 'EXPLAIN', 'CHECK'].includes(word) ? 'read' : 'write'
}

/** An insert whose rows follow it: `INSERT INTO t FORMAT X` or `INSERT INTO t SELECT … FROM input(…) FORMAT X`. */
function readInsert(text: string, code: string): Statement | undefined {
  if (!/^\s*INSERT\b/i.test(code)) return undefined
  const select = /\b(?:SELECT|WITH)\b/i.exec(code)
  const found = [...code.matchAll(/\bFORMAT\s+([A-Za-z]\w*)(?=[\s;]|$)/gi)].find(
    (match) => !NOT_A_FORMAT.test(match[1] ?? ''),
  )
  const values = select ? null : /\bVALUES\b/i.exec(code)
  if (select && !/\binput\s*\(/i.test(code)) return undefined
  // Rows after VALUES are expressions and may hold parameters: they stay in the statement.
  if (!found || (values && values.index < found.index) || found[1]?.toLowerCase() === 'values') return undefined
  const head = code.slice(0, found.index)
  refuseLocalFiles(head)
  // One line break after the format's name belongs to the statement; what follows are rows.
  const gap = /^[ \t\f]*;?[ \t\f]*\r?\n?/.exec(text.slice(found.index + found[0].length))?.[0] ?? ''
  return {
    kind: 'insert',
    text: text.slice(0, found.index),
    format: found[1],
    rowsAt: found.index + found[0].length + gap.length,
    parameterTypes: declaredTypes(head),
  }
}

/**
 * The insert as the engine can run it with the rows in a file: `FROM INFILE` for a table, because that fills omitted
 * columns with their defaults as the server does; `file(…)` in place of `input(…)`, with the same structure.
 */
export function insertFromFile({ text, format }: Statement, path: string): string {
  const code = blank(text)
  const input = /\binput\s*\(/i.exec(code)
  if (input) {
    const opened = input.index + input[0].length
    return `${text.slice(0, input.index)}file('${path}', '${format}', ${text.slice(opened)}`
  }
  const settings = /\bSETTINGS\b/i.exec(code)?.index ?? text.length
  const [before, after] = [text.slice(0, settings), text.slice(settings)]
  return `${before} FROM INFILE '${path}' COMPRESSION 'none' ${after} FORMAT ${format}`
}

/** A server reads only files of its own folder; the engine would read every file of this machine. */
function refuseLocalFiles(code: string): void {
  if (/\bINTO\s+OUTFILE\b/i.test(code))
    throw serverError(309, 'INTO_OUTFILE_NOT_ALLOWED', 'INTO OUTFILE is not allowed')
  if (/\bFROM\s+INFILE\b/i.test(code)) throw serverError(48, 'NOT_IMPLEMENTED', 'FROM INFILE works in clients only')
  if (/\bfile\s*\(/i.test(code)) throw serverError(291, 'DATABASE_ACCESS_DENIED', 'File is not inside user_files')
}

function declaredTypes(code: string): Map<string, string> {
  return new Map([...code.matchAll(/\{\s*(\w+)\s*:\s*([^{}]+)\}/g)].map((match) => [match[1] ?? '', match[2] ?? '']))
}

/**
 * A parameter's value as it came over HTTP, as the engine's binding takes it. HTTP brings it escaped like a field of
 * TSV, the binding escapes it so again; inside arrays, maps and tuples a quote is doubled instead, which it leaves be.
 */
export function bindable(wire: string, type: string | undefined): string | null {
  if (wire === '\\N') return null
  const composite = /^\s*(?:Array|Map|Tuple)\b/i.test(type ?? '')
  return wire.replace(/\\(.)/gs, (_, letter: string) => {
    if (letter === "'") return composite ? "''" : "'"
    // Inside a composite the escapes of its strings are read by the engine after the binding: only halve the escape.
    return UNESCAPED[letter] ?? letter
  })
}

const UNESCAPED: Record<string, string> = { t: '\t', n: '\n', r: '\r', b: '\b', f: '\f', '0': '\0' }

const OPAQUE =
  /'(?:[^'\\]+|\\[\s\S]|'')*'?|"(?:[^"\\]+|\\[\s\S])*"?|`(?:[^`\\]+|\\[\s\S])*`?|\/\*[\s\S]*?(?:\*\/|$)|--[^\n]*|#[ !][^\n]*/g

/** The text with strings, quoted names and comments blanked, every index unchanged. */
export function blank(text: string): string {
  const spaces = (found: string) =>
    found
      .split('\n')
      .map((line) => ' '.repeat(line.length))
      .join('\n')
  return text.replace(OPAQUE, spaces)
}
