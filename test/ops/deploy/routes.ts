import type { SourceFile } from '../../support/source-files.ts'

export type Route = { segment: string; role: string; file: string }

const ROLES = ['ingest', 'aggregator', 'invoicer']

/** The first path segments under /api/v1 that the doors serve, each with the roles that have the door. */
export function servedRoutes(files: Pick<SourceFile, 'path' | 'text'>[]): Route[] {
  return files.flatMap(({ path, text }) => {
    const [top = ''] = path.split('/')
    // The doors of access stand on every role's host.
    const roles = path.startsWith('ops/access/doors/') ? ROLES : ROLES.filter((role) => role === top)
    const segments = [...text.matchAll(/['"`]\/api\/v1\/([\w-]+)/g)].map((match) => match[1] ?? '')
    return [...new Set(segments)].flatMap((segment) => roles.map((role) => ({ segment, role, file: path })))
  })
}

/** The proxy's map: segment → role. */
export function mappedRoutes(map: string): Map<string, string> {
  const lines = map.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => line.trim().split(/\s+/) as [string, string]))
}

/** What is wrong with the map, as sentences: a route without a role, with one that does not serve it, or without a door. */
export function mappingFaults(routes: Route[], map: Map<string, string>): string[] {
  const segments = [...new Set(routes.map((route) => route.segment))]
  const missing = segments.flatMap((segment) => {
    const doors = routes.filter((route) => route.segment === segment)
    const role = map.get(segment)
    if (role === undefined) return [`/api/v1/${segment} (${doors[0]?.file}) has no role in routes.map`]
    return doors.some((door) => door.role === role) ? [] : [`/api/v1/${segment} is not served by ${role}`]
  })
  const stale = [...map.keys()].filter((segment) => !segments.includes(segment))
  return [...missing, ...stale.map((segment) => `routes.map has ${segment}, which no door serves`)]
}
