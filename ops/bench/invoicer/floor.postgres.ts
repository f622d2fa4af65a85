import pg from 'pg'

/** What was issued, in columns, transaction by transaction. */
export type Issued = {
  invoices: number
  /** Lines that cost something. */
  lines: number
  transactions: { invoices: (string | null)[][]; lines: (string | null)[][] }[]
}

export type BareInvoices = {
  /** Reads what a run issued, as the rows that the floor writes. */
  read(runId: string): Promise<Issued>
  insert(issued: Issued): Promise<void>
  close(): Promise<void>
}

type Columns = readonly (readonly [name: string, type: string])[]

const INVOICES: Columns = [
  ['tenant_id', 'integer'],
  ['id', 'uuid'],
  ['number', 'bigint'],
  ['subscription_id', 'uuid'],
  ['customer_id', 'uuid'],
  ['plan_id', 'uuid'],
  ['currency', 'text'],
  ['period_start', 'timestamptz'],
  ['period_end', 'timestamptz'],
  ['subtotal_minor', 'bigint'],
  ['tax_minor', 'bigint'],
  ['total_minor', 'bigint'],
  ['amount_due_minor', 'bigint'],
]
const LINES: Columns = [
  ['tenant_id', 'integer'],
  ['invoice_id', 'uuid'],
  ['line_index', 'smallint'],
  ['charge_key', 'text'],
  ['description', 'text'],
  ['meter', 'text'],
  ['period_start', 'timestamptz'],
  ['period_end', 'timestamptz'],
  ['amount_minor', 'bigint'],
  ['currency', 'text'],
  ['breakdown', 'jsonb'],
  ['plan_id', 'uuid'],
  ['tax_minor', 'bigint'],
  ['tax_rate_percent', 'numeric'],
  ['tax_code', 'text'],
  ['tax_reason', 'text'],
  ['tax_inclusive', 'boolean'],
]

/** The floor: the same rows into tables with a primary key and nothing else, as the owner. */
export async function openBareInvoices(ownerUrl: string, perTransaction: number): Promise<BareInvoices> {
  const client = new pg.Client({ connectionString: ownerUrl })
  // A failing figure stops its Postgres under this connection; the figure's own error is the one to tell.
  client.on('error', () => undefined)
  await client.connect()
  await client.query(`CREATE SCHEMA bench;
    ${tableOf('bench.invoices', INVOICES, 'tenant_id, id')};
    ${tableOf('bench.invoice_lines', LINES, 'tenant_id, invoice_id, line_index')}`)
  const insertInvoices = insertOf('bench.invoices', INVOICES)
  const insertLines = insertOf('bench.invoice_lines', LINES)
  return {
    read: (runId) => readIssued(client, runId, perTransaction),
    insert: async ({ transactions }) => {
      for (const { invoices, lines } of transactions) {
        await client.query('BEGIN')
        await client.query(insertInvoices, invoices)
        await client.query(insertLines, lines)
        await client.query('COMMIT')
      }
    },
    close: () => client.end(),
  }
}

function tableOf(table: string, columns: Columns, key: string): string {
  return `CREATE TABLE ${table} (${columns.map(([name, type]) => `${name} ${type}`).join(', ')}, PRIMARY KEY (${key}))`
}

function insertOf(table: string, columns: Columns): string {
  const arrays = columns.map(([, type], index) => `$${index + 1}::${type}[]`).join(', ')
  return `INSERT INTO ${table} SELECT * FROM unnest(${arrays})`
}

async function readIssued(client: pg.Client, runId: string, perTransaction: number): Promise<Issued> {
  const select = (columns: Columns) => columns.map(([name]) => `t.${name}::text`).join(', ')
  const rows = async (sql: string) => {
    const result = await client.query<(string | null)[]>({ text: sql, values: [runId], rowMode: 'array' })
    return result.rows
  }
  const invoices = await rows(`SELECT ${select(INVOICES)} FROM invoices t WHERE billing_run_id = $1 ORDER BY t.id`)
  const lines = await rows(`SELECT ${select(LINES)} FROM invoice_lines t
    JOIN invoices i ON i.tenant_id = t.tenant_id AND i.id = t.invoice_id
    WHERE i.billing_run_id = $1 ORDER BY t.invoice_id, t.line_index`)
  const linesEach = invoices.length === 0 ? 0 : lines.length / invoices.length
  const transactions = Array.from({ length: Math.ceil(invoices.length / perTransaction) }, (_, index) => {
    const [from, to] = [index * perTransaction, (index + 1) * perTransaction]
    return {
      invoices: inColumns(INVOICES, invoices.slice(from, to)),
      lines: inColumns(LINES, lines.slice(from * linesEach, to * linesEach)),
    }
  })
  const amount = LINES.findIndex(([name]) => name === 'amount_minor')
  return { invoices: invoices.length, lines: lines.filter((line) => line[amount] !== '0').length, transactions }
}

function inColumns(columns: Columns, rows: readonly (string | null)[][]): (string | null)[][] {
  return columns.map((_, column) => rows.map((row) => row[column] ?? null))
}
