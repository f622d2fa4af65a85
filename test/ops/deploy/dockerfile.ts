/** An instruction of a Dockerfile with its continued lines joined: `RUN`, `npm ci`. */
export type Instruction = { keyword: string; value: string }
export type Stage = {
  name: string
  /** An image, or the name of an earlier stage. */
  from: string
  instructions: Instruction[]
}
export type Copy = { from: string | undefined; sources: string[]; target: string }

/** The stages of a Dockerfile, in order. Here-documents are not read: there are none. */
export function parseDockerfile(text: string): Stage[] {
  const stages: Stage[] = []
  for (const { keyword, value } of instructionsOf(text)) {
    if (keyword === 'FROM') {
      const [, from = '', name = ''] = /^(\S+)(?:\s+AS\s+(\S+))?$/i.exec(value) ?? []
      stages.push({ name, from, instructions: [] })
      continue
    }
    const stage = stages.at(-1)
    if (!stage) throw new Error(`${keyword} stands before the first FROM`)
    stage.instructions.push({ keyword, value })
  }
  return stages
}

function instructionsOf(text: string): Instruction[] {
  const lines = text.split('\n').filter((line) => !line.trimStart().startsWith('#'))
  const joined = lines.join('\n').replace(/\\\n\s*/g, '')
  return joined
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [keyword = '', ...rest] = line.trim().split(/\s+/)
      return { keyword: keyword.toUpperCase(), value: rest.join(' ') }
    })
}

/** The image's stage with all it inherits from earlier stages, first to last. */
export function withInherited(stages: Stage[], stage: Stage): Instruction[] {
  const parent = stages.find((one) => one.name !== '' && one.name === stage.from)
  return [...(parent ? withInherited(stages, parent) : []), ...stage.instructions]
}

export function valuesOf(instructions: Instruction[], keyword: string): string[] {
  return instructions.filter((one) => one.keyword === keyword).map((one) => one.value)
}

export function copyOf(value: string): Copy {
  const words = value.split(/\s+/)
  const flags = words.filter((word) => word.startsWith('--'))
  const paths = words.filter((word) => !word.startsWith('--'))
  const from = flags.find((flag) => flag.startsWith('--from='))?.slice('--from='.length)
  return { from, sources: paths.slice(0, -1), target: paths.at(-1) ?? '' }
}

/** The command of a RUN without the options that are BuildKit's. */
export function shellOf(value: string): string {
  return value.replace(/^(?:--\S+\s+)+/, '')
}

/** The words of an instruction in its exec form. */
export function execForm(value: string): string[] {
  return JSON.parse(value) as string[]
}

/** `ENV A=b C=d` as an object; quoted values are not used here. */
export function environmentOf(instructions: Instruction[]): Record<string, string> {
  const pairs = valuesOf(instructions, 'ENV').flatMap((value) => value.split(/\s+/))
  return Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]))
}
