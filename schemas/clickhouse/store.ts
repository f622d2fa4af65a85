/** What roles need of ClickHouse, embedded or server. Values are bound by name: `{tenant:UInt32}`. */
export type ClickHouseParams = Record<string, string | number | readonly string[] | readonly number[]>

export type ClickHouseStore = {
  /** Rows of a SELECT. 64-bit and wider numbers and decimals must be selected as text with toString. */
  query<Row>(sql: string, params?: ClickHouseParams): Promise<Row[]>
  /** A statement without an answer; resolved when it is done. */
  command(sql: string, params?: ClickHouseParams): Promise<void>
  /**
   * Statements that may read the rows of one Avro object container file: `sql(source)` gets what stands after FROM.
   * They run one after the other; an error stops the rest. Over a network the file travels with each that names it.
   */
  insertAvro(
    file: Buffer,
    statements: readonly ((source: string) => string)[],
    params?: ClickHouseParams,
  ): Promise<void>
  ping(): Promise<void>
  close(): Promise<void>
}

/** `as_of_ms` that means "everything known": the first instant of 2100. */
export const KNOWN_UNTIL_NOW_MS = 4_102_444_800_000

/**
 * Whether the statement's data, and not the store, is at fault: then repeating it is no use. Code numbers from
 * ErrorCodes.cpp of ClickHouse: parse errors 6, 27, 33, 36, 117, 130; 636 and 748 are what its Avro reader throws.
 */
export function isDataError(error: unknown): boolean {
  const code = Number((error as { code?: unknown } | undefined)?.code)
  return [6, 27, 33, 36, 117, 130, 636, 748].includes(code)
}

/** The same, found before the store saw it: 33 is CANNOT_READ_ALL_DATA. */
export function dataError(message: string): Error {
  return Object.assign(new Error(message), { code: '33' })
}
