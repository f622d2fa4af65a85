import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { COMPILED } from './compiled.ts'
import { REPOSITORY } from './source-files.ts'

/**
 * The tree as JavaScript, once a run, for the processes that tests start: loading it through tsx costs each of them
 * 2.7 s of CPU more. It lies below node_modules, where it finds the same packages; types are checked by `npm run types`.
 */
export function setup(): () => void {
  const caches = join(REPOSITORY, 'node_modules', '.cache')
  mkdirSync(caches, { recursive: true })
  const folder = mkdtempSync(join(caches, 'tallyline-tests-'))
  const argv = ['--noEmit', 'false', '--noCheck', '--rootDir', REPOSITORY, '--outDir', folder]
  const { status, stdout, stderr } = spawnSync('npx', ['tsc', '-p', join(REPOSITORY, 'tsconfig.json'), ...argv])
  if (status !== 0) throw new Error(`The tests' programs do not compile: ${stdout}${stderr}`)
  process.env[COMPILED] = folder
  return () => rmSync(folder, { recursive: true, force: true })
}
