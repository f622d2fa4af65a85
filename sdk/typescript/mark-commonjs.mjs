// What lies in dist/cjs is CommonJS, whatever the package above it says.
import { writeFileSync } from 'node:fs'

writeFileSync(new URL('dist/cjs/package.json', import.meta.url), '{"type":"commonjs"}\n')
