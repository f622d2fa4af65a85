import { mkdirSync } from 'node:fs'
import { open } from 'lmdb'
import { ALL_SUBJECTS } from '../events.ts'
import type { LookUp } from './floor-process.ts'

export async function openLmdbLookUp(folder: string): Promise<LookUp> {
  mkdirSync(folder, { recursive: true })
  const used = open<string, string>({ path: folder, encoding: 'string', compression: false })
  for (const subject of ALL_SUBJECTS) await used.put(subject, '988000000')
  return { get: async (subject) => used.get(subject), close: () => used.close() }
}
