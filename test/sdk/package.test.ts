import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { importsOf, REPOSITORY, sourceFiles } from '../support/source-files.ts'
import { tempFolder } from '../support/temp-folder.ts'

const PACKAGE = join(REPOSITORY, 'sdk/typescript')
const TSC = join(REPOSITORY, 'node_modules/.bin/tsc')
const manifest = JSON.parse(readFileSync(join(PACKAGE, 'package.json'), 'utf8')) as {
  exports: Record<string, unknown>
  scripts: { build: string }
  dependencies?: object
}
const ENTRIES = Object.keys(manifest.exports).filter((name) => !name.endsWith('.json'))
const USES = `
const tallyline = createTallyline({ url: 'http://localhost:8081', key: 'tly_test', onDead: ({ code }) => code.length })
const id: string | undefined = tallyline.emit({ type: 'llm.request', subject: 'customer-1', data: { tokens: 7 } })
const call = meterTokens(tallyline, async (model: string) => ({ model, usage: {} }), { subject: (model) => model })
const answer: Promise<{ model: string }> = call('small')
export { answer, id, openSpool }
// @ts-expect-error: an event has a subject
tallyline.emit({ type: 'llm.request', data: {} })
`

const consumer = tempFolder()
const installed = join(consumer.path, 'node_modules/@tallyline/sdk')
const write = (name: string, text: string) => writeFileSync(join(consumer.path, name), text)
const run = (file: string, argv: string[]) => execFileSync(file, argv, { cwd: consumer.path, encoding: 'utf8' })

/** The package as it is published: what \`npm run build\` in its folder makes, installed in a project of its own. */
beforeAll(() => {
  mkdirSync(installed, { recursive: true })
  for (const name of ['package.json', 'mark-commonjs.mjs']) cpSync(join(PACKAGE, name), join(installed, name))
  for (const form of ['esm', 'cjs']) {
    run(TSC, ['-p', join(PACKAGE, `tsconfig.${form}.json`), '--outDir', join(installed, 'dist', form)])
  }
  run(process.execPath, [join(installed, 'mark-commonjs.mjs')])
})
afterAll(() => consumer.remove())

describe('the package', () => {
  test('needs nothing, and its build is what was run here', () => {
    expect(manifest.dependencies).toBeUndefined()
    expect(manifest.scripts.build).toBe(
      'tsc -p tsconfig.esm.json && tsc -p tsconfig.cjs.json && node mark-commonjs.mjs',
    )
    expect(ENTRIES).toEqual(['.', './spool', './meter', './tokens', './fastify', './express'])
  })

  test.each(['module', 'commonjs'])('every entry loads as %s', (form) => {
    const names = ENTRIES.map((entry) => `@tallyline/sdk${entry.slice(1)}`)
    const load = form === 'module' ? 'await import' : 'require'
    const lines = names.map((name) => `console.log(Object.keys(${load}('${name}')).sort().join())`)
    write(form === 'module' ? 'use.mjs' : 'use.cjs', lines.join('\n'))
    expect(
      run(process.execPath, [form === 'module' ? 'use.mjs' : 'use.cjs'])
        .trim()
        .split('\n'),
    ).toEqual([
      'createTallyline',
      'openSpool',
      'QuotaRefused,meter',
      'QuotaRefused,meterTokens,readTokens',
      'meterFastify',
      'meterExpress',
    ])
  })

  test('its types are found from modules and from CommonJS, without those of Node', () => {
    const names = [
      ['createTallyline', ''],
      ['meterTokens', '/tokens'],
      ['openSpool', '/spool'],
    ]
    const imports = names.map(([name, entry]) => `import { ${name} } from '@tallyline/sdk${entry}'`).join('\n')
    for (const name of ['use.mts', 'use.cts']) write(name, imports + USES)
    const options = ['--strict', '--noEmit', '--module', 'nodenext', '--types', '', '--lib', 'es2023,dom']
    expect(run(TSC, [...options, 'use.mts', 'use.cts'])).toBe('')
  })
})

describe('an edge runtime', () => {
  const files = new Map(sourceFiles().map((file) => [file.path, file]))
  const reachable = (path: string): string[] => {
    const specifiers = importsOf(files.get(path)!)
      .filter(({ typeOnly }) => !typeOnly)
      .map(({ specifier }) => specifier)
    return specifiers.flatMap((each) =>
      each.startsWith('./') ? [each, ...reachable(`sdk/typescript/src/${each.slice(2)}`)] : [each],
    )
  }

  test('finds no module of Node behind any entry but the spool', () => {
    for (const entry of ['tallyline', 'meter', 'tokens', 'fastify', 'express']) {
      expect(reachable(`sdk/typescript/src/${entry}.ts`).filter((each) => !each.startsWith('./'))).toEqual([])
    }
    expect(reachable('sdk/typescript/src/spool.ts')).toContain('node:fs/promises')
  })
})
