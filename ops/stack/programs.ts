import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

export type Program = { name: string; debianPackage: string; for: string }

/** Which of these are not on the PATH, as one sentence each; nothing is skipped silently. */
export function missingPrograms(programs: readonly Program[], path = process.env.PATH ?? ''): string[] {
  return programs
    .filter(({ name }) => !path.split(delimiter).some((folder) => isExecutable(join(folder, name))))
    .map((one) => `${one.for} needs '${one.name}', which is not installed: apt-get install ${one.debianPackage}`)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
