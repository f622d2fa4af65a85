import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { REPOSITORY } from './support/source-files.ts'

type Locked = { version?: string; optionalDependencies?: Record<string, string> }

/**
 * npm leaves a package out of the lock file when its registry did not have it at that moment, and `npm ci` then refuses
 * the whole file. Packages for other platforms are the ones one does not notice.
 */
test('the lock file names a version of every optional package, for every platform, and no registry host', () => {
  const text = readFileSync(join(REPOSITORY, 'package-lock.json'), 'utf8')
  const { packages } = JSON.parse(text) as { packages: Record<string, Locked> }
  const missing = Object.entries(packages).flatMap(([path, locked]) =>
    Object.keys(locked.optionalDependencies ?? {}).filter(
      (name) => !packages[`${path}/node_modules/${name}`]?.version && !packages[`node_modules/${name}`]?.version,
    ),
  )
  expect(missing).toEqual([])
  expect(text).not.toContain('"resolved"')
})
