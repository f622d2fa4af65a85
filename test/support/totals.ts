import { readFileSync } from 'node:fs'
import { relative } from 'node:path'
import type { Reporter, TestModule } from 'vitest/node'

type Totals = { passed: number; failed: number; other: number }

/** The suite a test file belongs to: its folder under test/, or 'house' for files that lie there themselves. */
export function suiteOf(path: string): string {
  const parts = path.split('/')
  return parts.length > 2 ? (parts[1] ?? '') : 'house'
}

/** What is wrong with the numbers: fewer tests than stated, tests that did not run, suites without a statement. */
export function shortcomings(suites: ReadonlyMap<string, Totals>, minimums: Record<string, number>): string[] {
  const short = Object.entries(minimums).flatMap(([suite, minimum]) => {
    const passed = suites.get(suite)?.passed ?? 0
    return passed < minimum ? [`suite ${suite}: ${passed} tests passed, at least ${minimum} are stated`] : []
  })
  const others = [...suites].flatMap(([suite, { other }]) =>
    other > 0 ? [`suite ${suite}: ${other} tests did not run`] : [],
  )
  const unstated = [...suites.keys()].filter((suite) => !(suite in minimums))
  return [...short, ...others, ...unstated.map((suite) => `suite ${suite}: no minimum in test/minimums.json`)]
}

/** Ends the run with `N passed, N failed`. A whole run is held against its part of test/minimums.json. */
export function totalsReporter(root: string, wholeRun: 'embedded' | 'servers' | undefined): Reporter {
  return {
    onTestRunEnd(modules, errors) {
      const suites = countBySuite(modules, root)
      const sum = (kind: keyof Totals) => [...suites.values()].reduce((total, suite) => total + suite[kind], 0)
      const problems = wholeRun ? shortcomings(suites, minimumsOf(root, wholeRun)) : []
      for (const problem of problems) process.stderr.write(`${problem}\n`)
      if (problems.length > 0) process.exitCode = 1
      const failed = sum('failed') + (errors.length > 0 ? 1 : 0) + problems.length
      process.stdout.write(`\n${sum('passed')} passed, ${failed} failed\n`)
    },
  }
}

function minimumsOf(root: string, run: 'embedded' | 'servers'): Record<string, number> {
  const minimums = JSON.parse(readFileSync(`${root}/test/minimums.json`, 'utf8')) as Record<
    typeof run,
    Record<string, number>
  >
  return minimums[run]
}

function countBySuite(modules: readonly TestModule[], root: string): Map<string, Totals> {
  const suites = new Map<string, Totals>()
  for (const module of modules) {
    const suite = suiteOf(relative(root, module.moduleId))
    const totals = suites.get(suite) ?? { passed: 0, failed: 0, other: 0 }
    for (const test of module.children.allTests()) {
      const { state } = test.result()
      totals[state === 'passed' || state === 'failed' ? state : 'other']++
    }
    if (module.state() === 'failed' && module.children.size === 0) totals.failed++
    suites.set(suite, totals)
  }
  return suites
}
