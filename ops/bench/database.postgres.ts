import { randomBytes } from 'node:crypto'
import pg from 'pg'
import type { BenchServers } from './figure.ts'

/** The environment of a figure on servers: with a database of its own, so with a log and tenants of its own too. */
export async function ownEnv({ env }: BenchServers): Promise<BenchServers['env']> {
  const name = `bench_${randomBytes(6).toString('hex')}`
  const client = new pg.Client({ connectionString: env.DATABASE_URL })
  await client.connect()
  try {
    await client.query(`CREATE DATABASE ${name}`)
  } finally {
    await client.end()
  }
  const url = new URL(env.DATABASE_URL)
  url.pathname = `/${name}`
  return { ...env, DATABASE_URL: url.href }
}
