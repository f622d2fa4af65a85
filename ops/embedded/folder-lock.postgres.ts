import pg from 'pg'

/** A data folder belongs to one process. The number is arbitrary; the embedded Postgres holds nobody else's locks. */
const FOLDER_LOCK = 7_215_502
const TRY_FOR_MS = 2_000
const TRY_EVERY_MS = 100

export type FolderLock = {
  /** From now on the end of the connection, and so of the lock, is no surprise. */
  expectEnd(): void
  release(): Promise<void>
}

/**
 * Takes the folder for this process as an advisory lock of its Postgres: the kernel closes the connection of a killed
 * process, so the lock never outlives it. Undefined if another process has it. Tries a moment, since Postgres needs
 * one to see a dead connection.
 */
export async function lockFolder(ownerUrl: string, onLost: (error: Error) => void): Promise<FolderLock | undefined> {
  const client = new pg.Client({
    connectionString: ownerUrl,
    application_name: 'tallyline folder lock',
    keepAlive: true,
  })
  await client.connect()
  let released = false
  client.on('error', (error) => {
    if (!released) onLost(error)
  })
  for (let triedMs = 0; triedMs <= TRY_FOR_MS; triedMs += TRY_EVERY_MS) {
    const { rows } = await client.query<{ taken: boolean }>('SELECT pg_try_advisory_lock($1) AS taken', [FOLDER_LOCK])
    if (rows[0]?.taken) {
      return {
        expectEnd: () => {
          released = true
        },
        release: async () => {
          released = true
          await client.end().catch(() => undefined)
        },
      }
    }
    await new Promise((resume) => setTimeout(resume, TRY_EVERY_MS))
  }
  released = true
  await client.end()
  return undefined
}
