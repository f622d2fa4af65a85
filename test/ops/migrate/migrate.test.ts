import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { migrateClickHouse } from '../../../ops/migrate/migrate.clickhouse.ts'
import { migratePostgres } from '../../../ops/migrate/migrate.postgres.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { migrationFiles } from '../../../schemas/files.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'

const namesOf = (store: 'postgres' | 'clickhouse') => migrationFiles(store).map(({ name }) => name)

describe('Postgres', () => {
  let name: string
  let url: string

  async function query<Row extends pg.QueryResultRow>(sql: string, on = url): Promise<Row[]> {
    const client = new pg.Client({ connectionString: on })
    await client.connect()
    const { rows } = await client.query<Row>(sql)
    await client.end()
    return rows
  }
  beforeEach(async () => {
    name = `tallyline_migrate_${randomBytes(6).toString('hex')}`
    await query(`CREATE DATABASE ${name}`, inject('postgresUrl'))
    url = inject('postgresUrl').replace(/\/postgres$/, `/${name}`)
  })
  afterEach(async () => {
    await query(`DROP DATABASE ${name} WITH (FORCE)`, inject('postgresUrl'))
  })
  const applied = async () =>
    (await query<{ name: string }>('SELECT name FROM migrations ORDER BY name')).map((row) => row.name)

  test('is brought up to date, in order; a second time there is nothing to do', async () => {
    expect(await migratePostgres(url)).toEqual(namesOf('postgres'))
    expect(await migratePostgres(url)).toEqual([])
    expect(await applied()).toEqual(namesOf('postgres'))
  })

  test('by many at once: each migration runs once, and all find it done', async () => {
    const done = await Promise.all(Array.from({ length: 5 }, () => migratePostgres(url)))
    expect(done.flat().sort()).toEqual(namesOf('postgres'))
    expect(await applied()).toEqual(namesOf('postgres'))
  })

  test('refuses to go on when an old migration was changed', async () => {
    await migratePostgres(url)
    const [first = ''] = namesOf('postgres')
    await query(`UPDATE migrations SET sha256 = 'another' WHERE name = '${first}'`)
    await expect(migratePostgres(url)).rejects.toThrow(`Migration ${first} was changed after it ran`)
  })

  test('one that fails leaves nothing of it, says which, and runs again when the way is clear', async () => {
    const [first = ''] = namesOf('postgres')
    await query('CREATE TABLE api_keys (x integer)')
    await expect(migratePostgres(url)).rejects.toThrow(`Migration ${first} failed: relation "api_keys" already exists`)
    expect(await applied()).toEqual([])
    const [row] = await query<{ tables: string }>(
      `SELECT string_agg(relname, ',' ORDER BY relname) AS tables
       FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`,
    )
    expect(row?.tables).toBe('api_keys,migrations')
    await query('DROP TABLE api_keys')
    expect(await migratePostgres(url)).toEqual(namesOf('postgres'))
  })
})

describe('ClickHouse', () => {
  let store: ClickHouseStore

  beforeAll(async () => {
    // Opened with its migrations run once.
    store = await openUsageStore()
  })
  afterAll(() => store.close())
  const forget = (condition: string) =>
    store.command(`ALTER TABLE migrations DELETE WHERE ${condition} SETTINGS mutations_sync = 2`)

  test('a second time there is nothing to do', async () => {
    expect(await migrateClickHouse(store)).toEqual([])
  })

  test('after a crash half-way everything that was not noted runs again, and loses nothing', async () => {
    await store.command("INSERT INTO dead_letters SELECT 0, 'l', 0, 0, now64(3), 'r', ''")
    await forget('1')
    expect(await migrateClickHouse(store)).toEqual(namesOf('clickhouse'))
    expect(await migrateClickHouse(store)).toEqual([])
    expect(await store.query('SELECT log FROM dead_letters')).toEqual([{ log: 'l' }])
  })

  test('a statement that fails leaves its migration unnoted', async () => {
    await forget("name >= '0002'")
    let statements = 0
    const failing: ClickHouseStore = {
      ...store,
      command: async (sql, params) => {
        if (sql.startsWith('CREATE VIEW') && ++statements === 2) throw new Error('killed')
        return store.command(sql, params)
      },
    }
    await expect(migrateClickHouse(failing)).rejects.toThrow('killed')
    expect(await migrateClickHouse(store)).toEqual(namesOf('clickhouse').slice(1))
  })

  test('refuses to go on when an old migration was changed', async () => {
    const [first = ''] = namesOf('clickhouse')
    await forget(`name = '${first}'`)
    await store.command("INSERT INTO migrations SELECT {name:String}, 'another'", { name: first })
    await expect(migrateClickHouse(store)).rejects.toThrow(`Migration ${first} was changed after it ran`)
  })
})
