import type { TenantId } from '../../../schemas/http/door.ts'
import type { ConfigCache, TenantConfig } from '../../accept/config.ts'
import { isObject } from '../../event-types/json.ts'
import { OPEN_TYPE } from '../../event-types/open-type.ts'
import type { RegisteredTypes } from './registered-types.ts'

/** Types of the product's own operations: no schema opens them. */
const RESERVED = 'tallyline.'

/**
 * The tenant's configuration, with the open schema for those types of the events that nobody registered. That is looked
 * up, since the type may have been registered through another process, whose word of it was lost. While Postgres is
 * away, what is known decides, as everywhere at the edge.
 */
export function withOpenTypes(
  cache: ConfigCache,
  registered: RegisteredTypes,
  events: readonly unknown[],
): ConfigCache {
  const open = async (tenant: TenantId, config: TenantConfig): Promise<TenantConfig> => {
    const unknown = config.openTypes ? unknownTypes(config, events) : []
    if (unknown.length === 0) return config
    const found = await registered(tenant, unknown).catch(() => new Set<string>())
    if (found.size === 0) return opened(config, unknown)
    cache.invalidate(tenant)
    const newer = await cache.get(tenant)
    return newer.openTypes ? opened(newer, unknownTypes(newer, events)) : newer
  }
  return {
    ...cache,
    get: async (tenant) => open(tenant, await cache.get(tenant)),
    atLeast: async (tenant, sinceMs) => open(tenant, await cache.atLeast(tenant, sinceMs)),
  }
}

function unknownTypes({ types }: TenantConfig, events: readonly unknown[]): string[] {
  const unknown = new Set<string>()
  for (const event of events) {
    const type = isObject(event) ? event.type : undefined
    // Postgres takes no NUL: one such name would fail the question of everybody who shares it.
    const mayBeOne = typeof type === 'string' && !type.startsWith(RESERVED) && !type.includes('\0')
    if (mayBeOne && !types.has(type)) unknown.add(type)
  }
  return [...unknown]
}

function opened(config: TenantConfig, unknown: readonly string[]): TenantConfig {
  return { ...config, types: new Map([...config.types, ...unknown.map((type) => [type, OPEN_TYPE] as const)]) }
}
