import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'

/** What a file is known by, whatever it is called, and how many lines it has. */
export type FileFacts = { sha256: string; lines: number }

export async function fileFacts(file: string): Promise<FileFacts> {
  const hash = createHash('sha256')
  let lines = 0
  let last: number | undefined
  for await (const chunk of createReadStream(file, { highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>) {
    hash.update(chunk)
    for (let at = chunk.indexOf(0x0a); at >= 0; at = chunk.indexOf(0x0a, at + 1)) lines++
    last = chunk.at(-1)
  }
  return { sha256: hash.digest('hex'), lines: lines + (last === undefined || last === 0x0a ? 0 : 1) }
}
