/**
 * Columns of a chunk as Postgres reads arrays in text. The client can write arrays too, but takes several times as long
 * for it as for everything else of an invoice; JSON goes as one document, through jsonb_array_elements.
 */

/** Of values whose text needs no quotes: ids, numbers. */
export function plainArray(values: readonly (string | number | bigint)[]): string {
  return `{${values.join(',')}}`
}

/** The same where values are missing. */
export function sparseArray(values: readonly (string | bigint | boolean | null | undefined)[]): string {
  return `{${values.map((value) => value ?? 'NULL').join(',')}}`
}

export function idArray(values: readonly (string | null | undefined)[]): string {
  return `{${values.map((value) => value ?? 'NULL').join(',')}}`
}

/** Most of a chunk's times are the same few boundaries of periods. */
export function timeArray(valuesMs: readonly (number | null | undefined)[]): string {
  const texts = new Map<number | null | undefined, string>()
  const textOf = (ms: number | null | undefined) => {
    const known = texts.get(ms)
    if (known !== undefined) return known
    const text = ms == null ? 'NULL' : new Date(ms).toISOString()
    texts.set(ms, text)
    return text
  }
  return `{${valuesMs.map(textOf).join(',')}}`
}

export function textArray(values: readonly (string | null)[]): string {
  return `{${values.map(quoted).join(',')}}`
}

function quoted(text: string | null): string {
  return text === null ? 'NULL' : `"${text.replace(/["\\]/g, '\\$&')}"`
}
