import { expect, test } from 'vitest'
import { statementsOf } from '../../../ops/migrate/migrate.clickhouse.ts'
import { migrationFiles } from '../../../schemas/files.ts'

test('statements end with a semicolon at the end of a line; comments and blanks are left out', () => {
  const sql = `-- a comment; with a semicolon
CREATE TABLE a (x String) ENGINE = Memory;

  -- another
SELECT 'a;b' AS text,
  -- inside
  2;  
;
SELECT 3`
  expect(statementsOf(sql)).toEqual([
    'CREATE TABLE IF NOT EXISTS a (x String) ENGINE = Memory',
    "SELECT 'a;b' AS text,\n  2",
    'SELECT 3',
  ])
})

test('tables and views are made repeatable: a crash half-way repeats the migration', () => {
  expect(statementsOf('CREATE VIEW v AS SELECT 1;\nCREATE TABLE t (x String);\nDROP TABLE u;')).toEqual([
    'CREATE VIEW IF NOT EXISTS v AS SELECT 1',
    'CREATE TABLE IF NOT EXISTS t (x String)',
    'DROP TABLE u',
  ])
})

test('every migration of ClickHouse is made of repeatable statements', () => {
  const statements = migrationFiles('clickhouse').flatMap(({ sql }) => statementsOf(sql))
  expect(statements.length).toBeGreaterThan(8)
  for (const statement of statements)
    expect(statement).toMatch(/ IF (NOT )?EXISTS |^CREATE OR REPLACE |^INSERT INTO [^;]+ NOT IN /)
})

test.each(['postgres', 'clickhouse'] as const)('migrations of %s are numbered from 0001 without a gap', (store) => {
  const numbers = migrationFiles(store).map(({ name }) => Number(name.slice(0, 4)))
  expect(numbers.length).toBeGreaterThan(0)
  expect(numbers).toEqual(numbers.map((_, index) => index + 1))
})
