import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import {
  GUARDED_TABLES,
  migrateClickHouseAccess,
  skippedLine,
  statementsOf,
} from '../../../ops/migrate/migrate.clickhouse.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { migrationFiles } from '../../../schemas/files.ts'
import { copyMeter } from '../../support/copy-meter.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'
import { logRow, NOVEMBER_20, usageEvent } from '../../support/log-events.ts'
import { REPOSITORY } from '../../support/source-files.ts'

// A bound against hanging, not a promise: other work may share the machine.
const FILES = migrationFiles('clickhouse/servers')
const STATEMENTS = FILES.flatMap(({ sql }) => statementsOf(sql))
const VIEWS = STATEMENTS.filter((statement) => statement.startsWith('CREATE OR REPLACE VIEW'))
const README = readFileSync(join(REPOSITORY, 'schemas/clickhouse/README.md'), 'utf8')
/** Blocks of SQL in the README, those of access apart: chDB knows no users. */
const blocksOf = (fence: string) =>
  [...README.matchAll(new RegExp(`\`\`\`${fence}\\n([^\`]+)\`\`\``, 'g'))].map((one) => one[1]!)

let store: ClickHouseStore

beforeAll(async () => {
  store = await openUsageStore()
  for (const tenant of [7, 8]) {
    const meter = { event_type: 'llm.request', aggregation: 'sum', value: 'tokens', group_by: ['model'] } as const
    await copyMeter(store, tenant, 'tokens', { ...meter, group_by: ['model'] }, { revision: 1 })
    const event = (id: string, subject: string, timeMs: number, tokens: number) =>
      usageEvent(id, { tenant, subject, timeMs, data: { tokens, model: 'small' } })
    const old = event('d', 'acme', Date.UTC(2025, 5, 1), 2)
    const early = [
      old,
      event('a', 'acme', Date.UTC(2026, 10, 3), 5),
      event('b', 'bolt', Date.UTC(2026, 9, 31, 23, 30), 7),
    ]
    const late = [event('c', 'acme', Date.UTC(2026, 10, 4), 1), event('a', 'acme', Date.UTC(2026, 10, 3), 500)]
    await insertRecords(store, `log-${tenant}`, [logRow(early, { knownAtMs: NOVEMBER_20 - 1, offset: 0 })])
    await insertRecords(store, `log-${tenant}`, [logRow(late, { knownAtMs: NOVEMBER_20, offset: 1 })])
  }
})
afterAll(() => store.close())
beforeEach(async () => {
  await store.command("ALTER TABLE migrations DELETE WHERE name LIKE 'servers/%' SETTINGS mutations_sync = 2")
  await store.command(
    'CREATE OR REPLACE TABLE policies (name String, short_name String, database String, table String) ENGINE = Memory',
  )
})

test('the sample queries of the README run, and say what they promise', async () => {
  const samples = blocksOf('sql')
  expect(samples).toHaveLength(5)
  const answers: unknown[] = []
  for (const sql of samples) answers.push(await store.query(sql))
  const midnight = '2026-11-03 00:00:00.000'
  expect(answers).toEqual([
    [
      { day: '2026-11-03', subject: 'acme', tokens: 5 },
      { day: '2026-11-04', subject: 'acme', tokens: 1 },
    ],
    [
      // Half past midnight of the first of November in Berlin.
      { subject: 'bolt', model: 'small', tokens: 7, calls: 1 },
      { subject: 'acme', model: 'small', tokens: 6, calls: 2 },
    ],
    [],
    [{ subject: 'acme', late: 1 }],
    [
      { time: '2026-11-04 00:00:00.000', id: 'c', subject: 'acme', model: 'small' },
      { time: midnight, id: 'a', subject: 'acme', model: 'small' },
    ],
  ])
})

/** Issue 5: "a read-only user with row policy per tenant"; chDB knows no users, so the text alone is shown to be right. */
test('every statement of access is read by ClickHouse: role, policies, views, grants, and the user of the README', async () => {
  const users = blocksOf('sql access').flatMap(statementsOf)
  expect(users).toHaveLength(2)
  for (const sql of [...STATEMENTS, ...users]) {
    const [row] = await store.query<{ text: string }>('SELECT formatQuery({sql:String}) AS text', { sql })
    expect(row!.text.split(/\s+/).slice(0, 2)).toEqual(sql.split(/\s+/).slice(0, 2))
    expect(sql).toMatch(/ IF NOT EXISTS |^CREATE OR REPLACE |^GRANT\s|^CREATE USER /)
  }
  await expect(
    store.query('SELECT formatQuery({sql:String}) AS text', { sql: 'CREATE ROW POLICY ON' }),
  ).rejects.toThrow()
})

test('where users cannot be managed, as on chDB, it is skipped and said, and tried again the next time', async () => {
  for (let time = 0; time < 2; time++) {
    const access = await migrateClickHouseAccess(store)
    expect(access).toEqual({ done: [], skipped: { names: FILES.map(({ name }) => name), why: expect.any(String) } })
    expect(skippedLine(access)).toMatch(
      /were skipped: .*grant SHOW ROW POLICIES.* \(code 497\)\. Run schemas\/clickhouse\/servers\/0001-analyst\.sql /,
    )
  }
})

/** A server that knows users, in so far as it takes what chDB refuses; a table stands for its row policies. */
function managing(refuse?: { at: string; error: Error }): { server: ClickHouseStore; ran: string[] } {
  const ran: string[] = []
  const command: ClickHouseStore['command'] = async (sql, params) => {
    if (refuse && sql.startsWith(refuse.at)) throw refuse.error
    ran.push(sql)
    if (!/^(GRANT|CREATE (ROLE|ROW POLICY))\s/.test(sql)) await store.command(sql, params)
  }
  const query: ClickHouseStore['query'] = (sql, params) =>
    store.query(sql.replaceAll('system.row_policies', 'policies'), params)
  return { server: { ...store, command, query }, ran }
}

test('where they can, it runs once, and nobody is granted anything before the policies stand', async () => {
  const { server, ran } = managing()
  expect(await migrateClickHouseAccess(server)).toEqual({ done: FILES.map(({ name }) => name) })
  const firstGrant = ran.findIndex((sql) => sql.startsWith('GRANT'))
  expect(ran.slice(firstGrant).filter((sql) => sql.includes('ROW POLICY'))).toEqual([])
  expect(ran.filter((sql) => sql.includes('ROW POLICY'))).toHaveLength(2)
  expect(await migrateClickHouseAccess(server)).toEqual({ done: [] })
})

/** A server with a read-only replicated access storage, or without the prefix SQL_, kept the product from migrating. */
test('whatever ClickHouse answers to it is skipped and named, and a lost connection is not', async () => {
  const refused = Object.assign(new Error('Setting SQL_tenant is neither builtin nor custom.'), { code: '115' })
  const access = await migrateClickHouseAccess(managing({ at: 'CREATE ROLE', error: refused }).server)
  expect(access).toEqual({ done: [], skipped: { names: FILES.map(({ name }) => name), why: expect.any(String) } })
  expect(skippedLine(access)).toContain('neither builtin nor custom. (code 115). Run schemas/clickhouse/servers/')
  const lost = Object.assign(new Error('away'), { code: 'ECONNREFUSED' })
  await expect(migrateClickHouseAccess(managing({ at: 'GRANT', error: lost }).server)).rejects.toThrow('away')
})

/** Permissive policies are joined by OR: one for everybody showed every row to those an operator had held back. */
test("it is skipped where there are row policies of the operator's own, and they are named", async () => {
  const add = (short: string, database: string, table: string) =>
    store.command(`INSERT INTO policies SELECT '${short} ON ${table || '*'}', '${short}', ${database}, '${table}'`)
  await add('tallyline_tenant', 'currentDatabase()', 'events')
  await add('elsewhere', "'another'", 'events')
  await add('of_a_table_of_theirs', 'currentDatabase()', 'notes')
  const first = managing()
  expect(await migrateClickHouseAccess(first.server)).toMatchObject({ done: [expect.any(String)] })

  await add('own', 'currentDatabase()', 'events')
  await add('all_tables', 'currentDatabase()', '')
  // What stands already is not done again, and not undone by policies that come later.
  expect(await migrateClickHouseAccess(first.server)).toEqual({ done: [] })
  await store.command("ALTER TABLE migrations DELETE WHERE name LIKE 'servers/%' SETTINGS mutations_sync = 2")
  const { server, ran } = managing()
  const line = skippedLine(await migrateClickHouseAccess(server))
  expect(line).toContain('would undo other row policies (all_tables ON *, own ON events). Run schemas/')
  expect(ran.filter((sql) => /ROLE|POLICY|GRANT/.test(sql))).toEqual([])
})

/** chDB may not look into the system's tables of access, but knows their columns. */
test('the tables that are asked about access have the columns that are asked', async () => {
  const columnsOf = async (table: string) =>
    (
      await store.query<{ name: string }>(
        "SELECT name FROM system.columns WHERE database = 'system' AND table = {table:String}",
        { table },
      )
    ).map(({ name }) => name)
  expect(await columnsOf('row_policies')).toEqual(expect.arrayContaining(['name', 'short_name', 'database', 'table']))
  expect(await columnsOf('settings_profile_elements')).toEqual(
    expect.arrayContaining(['user_name', 'role_name', 'value', 'writability', 'setting_name']),
  )
})

/** chDB takes no setting of one's own and no role: what the text says. 0 would be no limit. */
test('the role fixes the tenant and bounds its limits from both sides', () => {
  const [role] = STATEMENTS.filter((sql) => sql.startsWith('CREATE ROLE'))
  expect(role!.replace(/\s+/g, ' ')).toContain(
    'SETTINGS readonly = 2, SQL_tenant = 0 CONST, max_execution_time = 60 MIN 1 MAX 60, max_memory_usage = 4000000000 MIN 1 MAX 4000000000',
  )
})

/** What a view reads, down to the tables, itself included. */
async function readBy(names: readonly string[]): Promise<Map<string, string>> {
  const rows = await store.query<{ name: string; engine: string; text: string }>(
    'SELECT name, engine, create_table_query AS text FROM system.tables WHERE database = currentDatabase()',
  )
  const found = new Map<string, string>()
  const visit = (name: string) => {
    const table = rows.find((row) => row.name === name)
    if (!table || found.has(name)) return
    found.set(name, table.engine)
    if (table.engine === 'View')
      for (const [, next] of table.text.matchAll(/\b(?:FROM|JOIN|IN) \(?(?:\w+\.)?`?(\w+)/g)) visit(next!)
  }
  names.forEach(visit)
  return found
}

test('analysts may read exactly what their views read, and each table of that only by tenant', async () => {
  for (const view of VIEWS) await store.command(view)
  const own = ['usage_minute', 'usage_daily', 'usage_by_period', 'events_deduplicated']
  const read = await readBy([...own, ...VIEWS.map((sql) => /VIEW (\w+)/.exec(sql)![1]!)])
  const granted = STATEMENTS.flatMap((sql) => [...sql.matchAll(/SELECT ON (\w+)/g)].map((one) => one[1]!))
  expect([...granted].sort()).toEqual([...read.keys()].sort())
  const tables = [...read].filter(([, engine]) => engine !== 'View').map(([name]) => name)
  expect(tables).toContain('events')
  const policies = STATEMENTS.filter((sql) => sql.includes('ROW POLICY'))
  expect(policies.map((sql) => /ON\s+([\w, ]+)\s+FOR/.exec(sql)![1]!.split(', ').sort())).toEqual([
    [...tables].sort(),
    [...tables].sort(),
  ])
  expect([...GUARDED_TABLES].sort()).toEqual([...tables].sort())
})

/** chDB takes no setting of one's own, so an innocent one of its own stands for SQL_tenant. */
test("the views without parameters show the tenant of the session's setting, and nothing without it", async () => {
  for (const view of VIEWS) await store.command(view.replaceAll('SQL_tenant', 'log_queries_cut_to_length'))
  await store.command('CREATE TABLE IF NOT EXISTS answers (tenant UInt32, quantity Decimal(76, 12)) ENGINE = Memory')
  const ask = async (view: string, quantity: string, tenant: number) => {
    await store.command('TRUNCATE TABLE answers')
    const columns = `tenant, ${quantity}`
    await store.command(
      `INSERT INTO answers SELECT ${columns} FROM ${view} GROUP BY tenant SETTINGS log_queries_cut_to_length = ${tenant}`,
    )
    return store.query('SELECT tenant, toString(quantity) AS quantity FROM answers')
  }
  for (const tenant of [7, 8]) {
    // Whatever day the test runs: what lies ahead of the clock is not in the views.
    expect(await ask("analyst_usage_daily WHERE day < '2026-01-01'", 'sum(quantity)', tenant)).toEqual([
      { tenant, quantity: '2' },
    ])
    expect(await ask("analyst_usage_monthly WHERE month < '2026-01-01'", 'sum(quantity)', tenant)).toEqual([
      { tenant, quantity: '2' },
    ])
    expect(await ask('analyst_events_deduplicated', 'count()', tenant)).toEqual([{ tenant, quantity: '4' }])
  }
  expect(await ask('analyst_usage_daily', 'sum(quantity)', 0)).toEqual([])
  for (const view of VIEWS) await store.command(view)
  for (const name of ['usage_minute', 'usage_daily', 'usage_monthly', 'events_deduplicated'])
    expect(await store.query(`SELECT * FROM analyst_${name}`)).toEqual([])
})
