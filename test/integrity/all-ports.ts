import type { Ports } from '../../ops/cli/ports.ts'

/** The ports of a process that runs every role. */
export type AllPorts = Ports & { [Name in 'writer' | 'reader' | 'quota']: NonNullable<Ports[Name]> }

export function allPorts(ports: Ports): AllPorts {
  const { writer, reader, quota } = ports
  if (!writer || !reader || !quota) throw new Error('This process does not run every role')
  return { ...ports, writer, reader, quota }
}
