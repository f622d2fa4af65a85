import { startEmbeddedPostgres } from '../../../ops/embedded/postgres.ts'

/**
 * `node --import tsx start-postgres.ts FOLDER`: starts or adopts the Postgres of FOLDER, prints what it got as one line
 * of JSON, and dies by SIGKILL, as a product would that was killed: the server lives on.
 */
const [folder] = process.argv.slice(2)
if (!folder) throw new Error('Usage: start-postgres.ts FOLDER')
const { url, adopted } = await startEmbeddedPostgres(folder)
process.stdout.write(`${JSON.stringify({ url, adopted })}\n`, () => process.kill(process.pid, 'SIGKILL'))
