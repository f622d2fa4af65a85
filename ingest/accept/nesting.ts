const QUOTE = 0x22
const BACKSLASH = 0x5c
const NEWLINE = 0x0a

/**
 * Where JSON text nests deeper than allowed, found in one pass without recursion, so that no parser or reader behind it
 * can run out of stack. With `perLine` every line is a text of its own. Says nothing about JSON that is not valid.
 */
export function nestingFault(utf8: Uint8Array, mostLevels: number, perLine: boolean): { line: number } | undefined {
  let level = 0
  let line = 1
  let inString = false
  for (let at = 0; at < utf8.length; at++) {
    const byte = utf8[at]
    if (byte === NEWLINE) {
      line++
      if (!perLine) continue
      level = 0
      inString = false
    } else if (inString) {
      if (byte === BACKSLASH && utf8[at + 1] !== NEWLINE) at++
      else if (byte === QUOTE) inString = false
    } else if (byte === QUOTE) {
      inString = true
    } else if (byte === 0x5b || byte === 0x7b) {
      if (++level > mostLevels) return { line }
    } else if (byte === 0x5d || byte === 0x7d) {
      level--
    }
  }
  return undefined
}

/**
 * How many brackets and braces open in a text, those inside strings too; beyond `most` it may say any larger number.
 * Native searches from one to the next: events have few, and most bytes are never looked at here.
 */
export function countOpeners(text: string, most: number): number {
  let count = 0
  for (const opener of ['{', '[']) {
    for (let at = text.indexOf(opener); at >= 0 && count <= most; at = text.indexOf(opener, at + 1)) count++
  }
  return count
}

/**
 * Whether parsed events cannot nest deeper than allowed, seen from how many brackets open in their text. Every event
 * and its data opened one. What is left over may all be nested in one place: in the data of an event of a list.
 */
export function cannotNestDeeper(events: readonly unknown[], openers: number, mostLevels: number): boolean {
  let accountedFor = 0
  for (const event of events) {
    if (typeof event !== 'object' || event === null) continue
    const { data } = event as { data?: unknown }
    accountedFor += typeof data === 'object' && data !== null ? 2 : 1
  }
  return openers - accountedFor + 2 <= mostLevels
}
