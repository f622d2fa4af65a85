import pg from 'pg'

/** Every connection takes the role tallyline_app as it opens: not the owner, so row-level security holds. */
export function openPool(url: string, maxConnections: number, onError: (error: Error) => void): pg.Pool {
  const pool = new pg.Pool({
    connectionString: url,
    max: maxConnections,
    options: '-c role=tallyline_app',
    application_name: 'tallyline',
    connectionTimeoutMillis: 10_000,
  })
  // A connection that dies while idle is replaced at the next use; without a listener it would end the process.
  pool.on('error', onError)
  // One that dies in use fails its query, and says so once more as an event, which would end the process too.
  pool.on('connect', (client) => client.on('error', () => undefined))
  return pool
}
