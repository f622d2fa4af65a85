import { join, relative } from 'node:path'
import { REPOSITORY } from './source-files.ts'

/** Where this run keeps the compiled tree (compiled-global.ts). */
export const COMPILED = 'TALLYLINE_TESTS_COMPILED'

/** How Node is told to run a TypeScript file of this tree: as compiled for this run, or through tsx outside of one. */
export function programArgs(file: string): string[] {
  const folder = process.env[COMPILED]
  if (folder === undefined) return ['--import', 'tsx', file]
  return [join(folder, relative(REPOSITORY, file).replace(/\.ts$/, '.js'))]
}
