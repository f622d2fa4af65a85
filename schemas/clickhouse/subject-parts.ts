/** ClickHouse takes fields of 128 KiB, and statements of 256 KiB, which also name shards. */
const MOST_BYTES = 127 * 1024
/** What stands for one character in the statement's text as two. */
const ESCAPED = /['\\\p{Cc}]/gu

/** Subjects in their order, in parts that a statement can name. */
export function subjectParts(subjects: readonly string[], mostSubjects = Number.POSITIVE_INFINITY): string[][] {
  const parts: string[][] = []
  let part: string[] = []
  let partBytes = 0
  for (const subject of subjects) {
    // In the list each has two quotes and a comma.
    const bytes = Buffer.byteLength(subject) + (subject.match(ESCAPED)?.length ?? 0) + 3
    if (part.length === 0 || part.length === mostSubjects || partBytes + bytes > MOST_BYTES) {
      part = []
      partBytes = 0
      parts.push(part)
    }
    part.push(subject)
    partBytes += bytes
  }
  return parts
}
