const LONGEST = 256
const bytes = Buffer.alloc(3 * LONGEST)
let latest = ''

/**
 * The characters of a short text of ASCII as bytes, which stay until the next text is asked for; undefined for any other
 * text. A look at a character of a string costs several times as much as one at a byte, and an id is read three times:
 * for its time, its partition, and its bytes in the log. Asked for again, the same text costs nothing.
 */
export function asciiOf(text: string): Uint8Array | undefined {
  if (text === latest) return bytes
  if (text.length > LONGEST) return undefined
  const isAscii = bytes.write(text) === text.length
  latest = isAscii ? text : ''
  return isAscii ? bytes : undefined
}
