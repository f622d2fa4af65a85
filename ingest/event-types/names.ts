import type { Report } from './problems.ts'
import { PRIMITIVES, SCHEMA_LIMITS } from './schema.ts'

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/
const RESERVED: ReadonlySet<string> = new Set([...PRIMITIVES, 'bytes', 'record', 'enum', 'array', 'map', 'fixed'])
const RULE = 'letters, digits and _, not beginning with a digit'

/** Field names and enum symbols: reports and returns undefined if it is none. */
export function readSimpleName(raw: unknown, path: string, report: Report): string | undefined {
  if (typeof raw === 'string' && raw.length <= SCHEMA_LIMITS.nameLength && NAME.test(raw)) return raw
  report(path, `must be a name: ${RULE}, at most ${SCHEMA_LIMITS.nameLength} characters`)
  return undefined
}

/** The full name of a type: the name alone if it has dots, else with the given namespace, else the enclosing one. */
export function readFullName(
  raw: { name?: unknown; namespace?: unknown },
  enclosing: string,
  path: string,
  report: Report,
): string | undefined {
  const { name, namespace } = raw
  if (namespace !== undefined && namespace !== '' && !isDottedName(namespace)) {
    report(`${path}.namespace`, `must be names joined by dots: each ${RULE}`)
    return undefined
  }
  if (!isDottedName(name)) {
    report(`${path}.name`, `must be a name: ${RULE}; dots separate a namespace`)
    return undefined
  }
  if (RESERVED.has(name.slice(name.lastIndexOf('.') + 1))) {
    report(`${path}.name`, `${name} is a type of Avro; choose another name`)
    return undefined
  }
  return qualify(name, namespace ?? enclosing)
}

/** The names that a type or field also answers to; full names if a namespace is given, else simple ones. */
export function readAliases(raw: unknown, namespace: string | undefined, path: string, report: Report): string[] {
  if (raw === undefined) return []
  const accepts = namespace === undefined ? (item: unknown) => isDottedName(item) && NAME.test(item) : isDottedName
  if (!Array.isArray(raw) || !raw.every(accepts)) {
    report(path, `must be a list of names: ${RULE}`)
    return []
  }
  const aliases: string[] = raw
  return namespace === undefined ? aliases : aliases.map((alias) => qualify(alias, namespace))
}

export function qualify(name: string, namespace: string): string {
  return name.includes('.') || namespace === '' ? name : `${namespace}.${name}`
}

function isDottedName(raw: unknown): raw is string {
  return (
    typeof raw === 'string' && raw.length <= SCHEMA_LIMITS.nameLength && raw.split('.').every((part) => NAME.test(part))
  )
}
