import type { ConfigCache, TenantConfig } from '../../accept/config.ts'
import { isObject } from '../../event-types/json.ts'
import { OPEN_TYPE } from '../../event-types/open-type.ts'

/** Types of the product's own operations: no schema opens them. */
const RESERVED = 'tallyline.'

/** The tenant's configuration, with the open schema for those types of the events that nobody registered. */
export function withOpenTypes(cache: ConfigCache, events: readonly unknown[]): ConfigCache {
  const open = (config: TenantConfig) => (config.openTypes ? { ...config, types: openedTypes(config, events) } : config)
  return {
    ...cache,
    get: async (tenant) => open(await cache.get(tenant)),
    atLeast: async (tenant, sinceMs) => open(await cache.atLeast(tenant, sinceMs)),
  }
}

function openedTypes({ types }: TenantConfig, events: readonly unknown[]): TenantConfig['types'] {
  const opened = new Map(types)
  for (const event of events) {
    const type = isObject(event) ? event.type : undefined
    if (typeof type === 'string' && !types.has(type) && !type.startsWith(RESERVED)) opened.set(type, OPEN_TYPE)
  }
  return opened
}
