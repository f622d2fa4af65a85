import type pg from 'pg'
import { openClickHouse } from '../../ops/stores/clickhouse-http.clickhouse.ts'
import { askClickHouse } from '../support/ask-clickhouse.ts'
import { askPostgres, askPostgresAt } from '../support/product.ts'

/** What a test asks the stores themselves, behind the product's back. */
export type AskStores = {
  /** As the owner, whom row-level security does not bind. */
  postgres<Row extends pg.QueryResultRow>(sql: string, params?: unknown[]): Promise<Row[]>
  /** Of an embedded one only while the product is stopped. */
  clickhouse<Row>(sql: string): Promise<Row[]>
}

export function askEmbedded(folder: string): AskStores {
  return {
    postgres: (sql, params) => askPostgres(folder, sql, params),
    clickhouse: async <Row>(sql: string) => (await askClickHouse<Row>(folder, [sql]))[0] ?? [],
  }
}

export function askServers({ databaseUrl, clickhouseUrl }: { databaseUrl: string; clickhouseUrl: string }): AskStores {
  return {
    postgres: (sql, params) => askPostgresAt(databaseUrl, sql, params),
    clickhouse: async <Row>(sql: string) => {
      const store = openClickHouse(clickhouseUrl)
      try {
        return await store.query<Row>(sql)
      } finally {
        await store.close()
      }
    },
  }
}
