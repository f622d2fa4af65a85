import fc from 'fast-check'
import { seedOf } from './random.ts'

/** Properties of a run that states its seed look at the same cases each time: whether it passes is no luck. */
const seed = seedOf(process.env)
if (seed !== undefined) fc.configureGlobal({ ...fc.readConfigureGlobal(), seed })
