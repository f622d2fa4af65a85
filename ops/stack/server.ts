/** A server of the stack. Tests stop, kill and restart it; its address and its data stay the same. */
export type Server = {
  /** Of the running process; undefined while it is down, and where a container engine runs it. */
  readonly pid: number | undefined
  /** As an operator stops it: what it holds is written. */
  stop(): Promise<void>
  /** Without any warning to it, and wait until it is gone: SIGKILL; Postgres its immediate shutdown. */
  kill(): Promise<void>
  /** Stops it in its tracks (SIGSTOP): it keeps its connections, takes new ones and answers nobody. */
  freeze(): Promise<void>
  /** It goes on where it was. */
  thaw(): Promise<void>
  /** Starts it again, after stopping it if it runs. Resolves when it answers. */
  restart(): Promise<void>
}

export type KafkaServer = Server & { brokers: string }
export type RedisServer = Server & { url: string }
export type PostgresServer = Server & { url: string }
export type ClickHouseServer = Server & { url: string }

export type StackServers = {
  kafka: KafkaServer
  redis: RedisServer
  postgres: PostgresServer
  clickhouse: ClickHouseServer
}
export type ServerName = keyof StackServers

/** Keeps the getters of a server, which spreading it would read once and for all. */
export function withFields<S extends object, F extends object>(server: S, fields: F): S & F {
  return Object.defineProperties(server, Object.getOwnPropertyDescriptors(fields)) as S & F
}
