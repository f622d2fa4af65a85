import { execFile } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { REPOSITORY } from '../../support/source-files.ts'
import {
  copyOf,
  environmentOf,
  execForm,
  type Instruction,
  parseDockerfile,
  type Stage,
  shellOf,
  valuesOf,
  withInherited,
} from './dockerfile.ts'

export type Image = {
  /** Stands for WORKDIR. */
  folder: string
  env: Record<string, string>
  entrypoint: string[]
  healthcheck: string[]
  /** Whom its processes run as. Only root can take on another's number. */
  user: { uid: number; gid: number } | undefined
}

const WORKDIR = '/app'
/** The one in node:20.20.2. Another may be stricter about a lock file: npm 11 wants every platform's packages in it. */
const NPM_OF_BASE_IMAGE = 'npm@10.8.2'
const run = promisify(execFile)

/**
 * Does without Docker what a build does, in one folder per stage: COPY copies, RUN runs. Base images are the machine's
 * own Node and shell. Only the build stage's `npm ci` is left out: the packages of this repository are its result.
 */
export async function buildImage(dockerfile: string, scratch: string): Promise<Image> {
  const stages = parseDockerfile(dockerfile)
  const folderOf = (name: string) => join(scratch, name || 'final')
  for (const stage of stages) {
    const folder = folderOf(stage.name)
    mkdirSync(folder, { recursive: true })
    chmodSync(folder, 0o755)
    const inherited = withInherited(stages, stage)
    if (valuesOf(inherited, 'WORKDIR').some((path) => path !== WORKDIR)) throw new Error(`WORKDIR is not ${WORKDIR}`)
    for (const instruction of stage.instructions) await follow(instruction, stage, environmentOf(inherited), folderOf)
  }
  const instructions = withInherited(stages, stages.at(-1) as Stage)
  const last = (keyword: string) => valuesOf(instructions, keyword).at(-1) ?? ''
  const healthcheck = last('HEALTHCHECK')
  const [uid = 0, gid = 0] = last('USER').split(':').map(Number)
  return {
    folder: folderOf(''),
    env: environmentOf(instructions),
    entrypoint: execForm(last('ENTRYPOINT')),
    healthcheck: execForm(healthcheck.slice(healthcheck.indexOf('['))),
    user: process.getuid?.() === 0 ? { uid, gid } : undefined,
  }
}

async function follow(
  { keyword, value }: Instruction,
  stage: Stage,
  env: Record<string, string>,
  folderOf: (name: string) => string,
): Promise<void> {
  const folder = folderOf(stage.name)
  if (keyword === 'COPY') copy(value, folder, folderOf)
  if (keyword !== 'RUN') return
  const command = shellOf(value)
  if (command === 'npm ci --ignore-scripts') {
    symlinkSync(join(REPOSITORY, 'node_modules'), join(folder, 'node_modules'))
    return
  }
  const asInBaseImage = command.replace(/^npm /, `npx --yes ${NPM_OF_BASE_IMAGE} `)
  await run('sh', ['-c', asInBaseImage], { cwd: folder, env: { ...ownEnv(), ...env }, maxBuffer: 64 * 1024 * 1024 })
}

function copy(value: string, folder: string, folderOf: (name: string) => string): void {
  const { from, sources, target } = copyOf(value)
  for (const source of sources) {
    const path = from === undefined ? join(REPOSITORY, source) : join(folderOf(from), source.slice(WORKDIR.length))
    const to = target === './' ? join(folder, source) : join(folder, target)
    // As .dockerignore has it.
    cpSync(path, to, { recursive: true, filter: (file) => from !== undefined || !file.endsWith('.md') })
  }
}

/** Our environment without what npm and vitest say about this run. */
function ownEnv(): Record<string, string> {
  const ofThisRun = /^(npm_(package|lifecycle|node|execpath|command|config_local)|VITEST|INIT_CWD$|NODE_(ENV|OPTIONS)$)/
  return Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) =>
      value === undefined || ofThisRun.test(name) ? [] : [[name, value]],
    ),
  )
}

export function removeImage(scratch: string): void {
  rmSync(scratch, { recursive: true, force: true })
}
