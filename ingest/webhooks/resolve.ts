import { type LookupAddress, Resolver } from 'node:dns'

/** All addresses of a name, or why there is none. */
export type Resolve = (
  hostname: string,
  done: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void

const TIMEOUT_MS = 2_000
const TRIES = 2

/**
 * Asks the name servers itself: dns.lookup waits in one of the few threads that also read files and hash, and four names
 * whose servers are dead would hold up everybody. The file of hosts is not read. `servers`: not the system's.
 */
export function resolverOf(servers?: readonly string[]): Resolve {
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: TRIES })
  if (servers) resolver.setServers(servers)
  return (hostname, done) => {
    const found: LookupAddress[] = []
    let firstError: NodeJS.ErrnoException | null = null
    let open = 2
    const end = (family: 4 | 6) => (error: NodeJS.ErrnoException | null, addresses: readonly string[] | undefined) => {
      firstError ??= error
      for (const address of addresses ?? []) found.push({ address, family })
      if (--open === 0) done(found.length > 0 ? null : firstError, found)
    }
    resolver.resolve4(hostname, end(4))
    resolver.resolve6(hostname, end(6))
  }
}
