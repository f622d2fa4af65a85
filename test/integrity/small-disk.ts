import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync, symlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** A disk of its own for some folders of a data folder, so small that a test can fill it. */
export type SmallDisk = {
  /** Nothing more fits. */
  fill(): void
  /** What filled it is removed. */
  giveBack(): void
  remove(): void
}

const BLOCK = Buffer.alloc(64 * 1024)

/** The folders must not be there yet; they lead to the disk. */
export function mountSmallDisk(dataFolder: string, folders: readonly string[], megabytes: number): SmallDisk {
  const disk = join(dataFolder, 'small-disk')
  mkdirSync(disk)
  const options = `size=${megabytes}m,mode=0700,uid=${process.getuid?.() ?? 0}`
  asRoot('mount', '-t', 'tmpfs', '-o', options, 'tallyline-test', disk)
  for (const folder of folders) {
    mkdirSync(join(disk, folder))
    symlinkSync(join(disk, folder), join(dataFolder, folder))
  }
  const ballast = join(disk, 'ballast')
  return {
    fill: () => {
      const file = openSync(ballast, 'a')
      try {
        for (let block = BLOCK; block.length > 0; ) {
          try {
            writeSync(file, block)
          } catch (error) {
            if ((error as { code?: string }).code !== 'ENOSPC') throw error
            block = block.subarray(0, Math.floor(block.length / 2))
          }
        }
      } finally {
        closeSync(file)
      }
    },
    giveBack: () => rmSync(ballast),
    // Lazily: a process that was just killed may still hold a file.
    remove: () => asRoot('umount', '-l', disk),
  }
}

function asRoot(command: string, ...args: string[]): void {
  const [program = '', ...rest] = process.getuid?.() === 0 ? [command, ...args] : ['sudo', '-n', command, ...args]
  try {
    execFileSync(program, rest, { stdio: 'pipe' })
  } catch (cause) {
    throw new Error(`Tests of a full disk mount one, for which they must be root or may use sudo: ${cause}`, { cause })
  }
}
