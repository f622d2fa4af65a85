import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { REPOSITORY } from '../../support/source-files.ts'

export type Service = {
  image: string
  build?: string
  command?: string[]
  environment?: Record<string, string>
  ports?: string[]
  volumes?: string[]
  restart?: string
  stop_grace_period?: string
  depends_on?: Record<string, { condition: string }>
  healthcheck?: { test?: string[]; disable?: boolean; interval?: string; timeout?: string; retries?: number }
}
export type Compose = { services: Record<string, Service>; volumes: Record<string, unknown> }
export type Variable = { name: string; required: boolean; fallback: string | undefined }

export const repositoryFile = (path: string) => readFileSync(join(REPOSITORY, path), 'utf8')

export function parseCompose(text: string): Compose {
  return parse(text, { merge: true }) as Compose
}

const VARIABLE = /\$\{(\w+)(?::([?-])([^}]*))?\}/g

/** Every `${NAME…}` of the text that Compose would fill in. */
export function variablesOf(text: string): Variable[] {
  return [...text.matchAll(VARIABLE)].map(([, name = '', mark, rest]) => ({
    name,
    required: mark === '?',
    fallback: mark === '-' ? rest : undefined,
  }))
}

/** The text with its variables filled in as Compose does: from `env`, else by their defaults. */
export function filledIn(text: string, env: Record<string, string>): string {
  return text.replace(VARIABLE, (_all, name: string, mark: string | undefined, rest: string | undefined) => {
    const value = env[name] ?? (mark === '-' ? rest : undefined)
    if (value === undefined) throw new Error(`${name} is not set`)
    return value
  })
}
