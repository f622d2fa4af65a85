import fc from 'fast-check'

/** Where a property does not say how many cases it wants, it gets these instead of 100. */
fc.configureGlobal({ numRuns: 2_000 })
