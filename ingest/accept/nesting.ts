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
