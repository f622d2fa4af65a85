import { describe, expect, test } from 'vitest'
import { httpStatus, readError } from '../../../ops/stack/clickhouse-front/errors.ts'
import { bindable, blank, insertFromFile, readStatement } from '../../../ops/stack/clickhouse-front/statement.ts'

describe('what kind of statement it is', () => {
  test.each([
    ['SELECT 1', 'select'],
    ['  (select 1) UNION ALL (select 2)', 'select'],
    ['/* INSERT INTO t FORMAT CSV */ SELECT 1 -- ; DROP', 'select'],
    ['WITH 1 AS x SELECT x', 'select'],
    ['SHOW TABLES', 'read'],
    ['EXPLAIN SELECT 1', 'read'],
    ['SET x = 1', 'session'],
    ['USE other', 'session'],
    ['CREATE TABLE t (a Int32) ENGINE = Memory', 'write'],
    ['INSERT INTO t SELECT format FROM u', 'write'],
    ["INSERT INTO t VALUES ('FORMAT CSV')", 'write'],
    ['INSERT INTO t FORMAT VALUES (1)', 'write'],
    ['INSERT INTO t FORMAT CSV', 'insert'],
    ['insert into t (format, b) format JSONEachRow {"a":"; FORMAT TSV"}', 'insert'],
    ["INSERT INTO t SELECT a FROM input('a Int32') FORMAT Avro", 'insert'],
  ])('%s', (sql, kind) => {
    expect(readStatement(sql).kind).toBe(kind)
  })
})

test('rows begin after one line break', () => {
  const rowsOf = (sql: string) => sql.slice(readStatement(sql).rowsAt)
  expect(rowsOf('INSERT INTO t FORMAT RowBinary\n\n\n')).toBe('\n\n')
  expect(rowsOf('INSERT INTO t FORMAT CSV 1,2')).toBe('1,2')
  expect(rowsOf('INSERT INTO t FORMAT CSV \r\n1,2')).toBe('1,2')
  expect(rowsOf('INSERT INTO t FORMAT Avro')).toBe('')
})

test('an insert is told to read a file', () => {
  const from = (sql: string) => insertFromFile(readStatement(sql), '/f')
  expect(from('INSERT INTO t (a) FORMAT CSV')).toBe(
    "INSERT INTO t (a)  FROM INFILE '/f' COMPRESSION 'none'  FORMAT CSV",
  )
  expect(from('INSERT INTO t SETTINGS x = 1 FORMAT CSV')).toBe(
    "INSERT INTO t  FROM INFILE '/f' COMPRESSION 'none' SETTINGS x = 1  FORMAT CSV",
  )
  expect(from("INSERT INTO t SELECT 'input(' FROM input('a Int32') FORMAT Avro")).toBe(
    "INSERT INTO t SELECT 'input(' FROM file('/f', 'Avro', 'a Int32') ",
  )
})

test('strings, names and comments are blanked in place', () => {
  const sql = "SELECT 'a''b\\'c;', \"x;\", `y;` -- z;\n/* ; */ # ;\n, ';"
  expect(blank(sql)).toHaveLength(sql.length)
  expect(blank(sql)).not.toMatch(/;|[abcxyz]/)
  expect(blank('a - b / c')).toBe('a - b / c')
  expect(blank(`'${'x'.repeat(5_000_000)}'`)).toHaveLength(5_000_002)
})

test('several statements, files of this machine: refused', () => {
  for (const sql of [
    'SELECT 1; SELECT 2',
    "SELECT * FROM file('x')",
    "SELECT 1 INTO OUTFILE 'x'",
    "INSERT INTO t FROM INFILE 'x' FORMAT CSV",
  ])
    expect(() => readStatement(sql)).toThrow(/^Code: \d+\. DB::Exception: /)
  expect(readStatement("SELECT ';', 'file(' ;\n").kind).toBe('select')
})

test('a parameter is made ready for the engine, which escapes it once more', () => {
  expect(bindable('\\N', 'Nullable(String)')).toBeNull()
  expect(bindable("a\\tb\\\\c\\'", 'String')).toBe("a\tb\\c'")
  expect(bindable("['it\\'s','\\\\']", 'Array(String)')).toBe("['it''s','\\']")
  expect(bindable('5', undefined)).toBe('5')
})

test('statuses of errors are those of the server', () => {
  const statuses = [
    'SYNTAX_ERROR',
    'CANNOT_PARSE_DATE',
    'UNKNOWN_TABLE',
    'TIMEOUT_EXCEEDED',
    'NOT_IMPLEMENTED',
    'MEMORY_LIMIT_EXCEEDED',
    'CANNOT_PARSE_INPUT_ASSERTION_FAILED',
  ]
  expect(statuses.map(httpStatus)).toEqual([400, 400, 404, 408, 501, 500, 400])
  expect(readError(new Error('Code: 60. DB::Exception: No (Table). (UNKNOWN_TABLE)'))).toMatchObject({
    code: 60,
    name: 'UNKNOWN_TABLE',
  })
  expect(readError('odd')).toMatchObject({ code: 1002, name: 'UNKNOWN_EXCEPTION' })
})
