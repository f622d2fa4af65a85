import { createHash } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { hostname } from 'node:os'
import pg from 'pg'

/** A data folder belongs to one process. With a hash of its place it is the two-part number of an advisory lock. */
const FOLDER_LOCK = 7_215_502
const TRY_FOR_MS = 2_000
const TRY_EVERY_MS = 100

export type FolderLock = {
  /** From now on the end of the connection, and so of the lock, is no surprise. */
  expectEnd(): void
  release(): Promise<void>
}

/**
 * Takes the folder for this process as an advisory lock of the Postgres it uses: the kernel closes the connection of a killed
 * process, so the lock never outlives it. Undefined if another process has it. Tries a moment, since Postgres needs
 * one to see a dead connection.
 */
export async function lockFolder(
  ownerUrl: string,
  folder: string,
  onLost: (error: Error) => void,
): Promise<FolderLock | undefined> {
  const place = createHash('sha256')
    .update(`${hostname()}\n${realpathSync(folder)}`)
    .digest()
    .readInt32BE(0)
  const client = new pg.Client({
    connectionString: ownerUrl,
    application_name: 'tallyline folder lock',
    keepAlive: true,
  })
  let released = false
  // Heard before it is connected: Postgres may end it with the very bytes that say it is ready.
  client.on('error', (error) => {
    if (!released) onLost(error)
  })
  await client.connect()
  for (let triedMs = 0; triedMs <= TRY_FOR_MS; triedMs += TRY_EVERY_MS) {
    const { rows } = await client.query<{ taken: boolean }>('SELECT pg_try_advisory_lock($1, $2) AS taken', [
      FOLDER_LOCK,
      place,
    ])
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
