const QUOTE = 0x22
const BACKSLASH = 0x5c
const NEWLINE = 0x0a

/** What a byte outside strings does; most do nothing. A table, because this looks at every byte that arrives. */
const [OPENS, CLOSES, BEGINS_STRING, ENDS_LINE] = [1, 2, 3, 4]
const EFFECT = new Uint8Array(256)
EFFECT[0x5b] = EFFECT[0x7b] = OPENS
EFFECT[0x5d] = EFFECT[0x7d] = CLOSES
EFFECT[QUOTE] = BEGINS_STRING
EFFECT[NEWLINE] = ENDS_LINE

/**
 * Where JSON text nests deeper than allowed, found in one pass without recursion, so that no parser or reader behind it
 * can run out of stack. With `perLine` every line is a text of its own. Says nothing about JSON that is not valid.
 */
export function nestingFault(utf8: Uint8Array, mostLevels: number, perLine: boolean): { line: number } | undefined {
  let level = 0
  let line = 1
  for (let at = 0; at < utf8.length; at++) {
    let effect = EFFECT[utf8[at] ?? 0]
    if (effect === 0) continue
    if (effect === BEGINS_STRING) {
      at = stringEnd(utf8, at + 1, perLine)
      // A line that breaks off within a string is no JSON; the next one begins anew.
      if (utf8[at] === NEWLINE) effect = ENDS_LINE
    }
    if (effect === OPENS) {
      if (++level > mostLevels) return { line }
    } else if (effect === CLOSES) {
      level--
    } else if (effect === ENDS_LINE) {
      line++
      if (perLine) level = 0
    }
  }
  return undefined
}

/** Where the string ends that begins here: at its quote, or with `perLine` at the end of its line. */
function stringEnd(utf8: Uint8Array, start: number, perLine: boolean): number {
  for (let at = start; at < utf8.length; at++) {
    const byte = utf8[at]
    if (byte === QUOTE || (perLine && byte === NEWLINE)) return at
    if (byte === BACKSLASH && !(perLine && utf8[at + 1] === NEWLINE)) at++
  }
  return utf8.length
}
