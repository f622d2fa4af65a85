/**
 * Columns of a chunk as Postgres reads arrays in text. The client can write arrays too, but takes several times as long
 * for it as for everything else of an invoice; JSON goes as one document, through jsonb_array_elements.
 */

/** Of values whose text needs no quotes: ids, numbers. */
export function plainArray(values: readonly (string | number | bigint)[]): string {
  return arrayOf(values.map(String))
}

/** The same where values are missing. */
export function sparseArray(values: readonly (string | bigint | boolean | null | undefined)[]): string {
  return arrayOf(values.map((value) => (value == null ? 'NULL' : String(value))))
}

export function idArray(values: readonly (string | null | undefined)[]): string {
  return arrayOf(values.map((value) => value ?? 'NULL'))
}

/** Most of a chunk's times are the same few boundaries of periods. */
export function timeArray(valuesMs: readonly (number | null | undefined)[]): string {
  const textOf = timeTexts()
  return arrayOf(valuesMs.map((ms) => (ms == null ? 'NULL' : textOf(ms))))
}

/** Times as ISO 8601, each written once. */
export function timeTexts(): (ms: number) => string {
  const texts = new Map<number, string>()
  return (ms) => {
    const known = texts.get(ms)
    if (known !== undefined) return known
    const text = new Date(ms).toISOString()
    texts.set(ms, text)
    return text
  }
}

/** Most of a chunk's texts are the same few names. */
export function textArray(values: readonly (string | null)[]): string {
  const known = new Map<string, string>()
  const quotedOnce = (text: string) => {
    const found = known.get(text)
    if (found !== undefined) return found
    const written = `"${text.replace(/["\\]/g, '\\$&')}"`
    known.set(text, written)
    return written
  }
  return arrayOf(values.map((text) => (text === null ? 'NULL' : quotedOnce(text))))
}

/** Braces go inside of what is joined: put around it they would have the whole text copied once more. */
function arrayOf(texts: string[]): string {
  if (texts.length === 0) return '{}'
  texts[0] = `{${texts[0]}`
  texts[texts.length - 1] += '}'
  return texts.join(',')
}
