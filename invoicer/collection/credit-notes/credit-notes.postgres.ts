import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray, plainArray, textArray } from '../../array-text.ts'
import { type CreditableInvoice, type CreditNote, type CreditNoteLine, formatCreditNoteNumber } from './credit-note.ts'

/** The counters are there before any note asks for a number, so that drawing is one UPDATE. */
export async function ensureCreditNoteNumbers(
  tx: TenantTransaction,
  legalEntityIds: readonly (string | null)[],
): Promise<void> {
  await tx.query(
    `INSERT INTO credit_note_numbers (tenant_id, legal_entity_id, last_number)
     SELECT app_tenant(), n.id, 0 FROM (SELECT DISTINCT id FROM unnest($1::uuid[]) AS n (id) ORDER BY id) AS n
     WHERE NOT EXISTS (SELECT FROM credit_note_numbers c WHERE c.legal_entity_id IS NOT DISTINCT FROM n.id)
     ON CONFLICT DO NOTHING`,
    [idArray(legalEntityIds)],
  )
}

/** Issued invoices; until the end of `tx` nobody else pays or credits them. Locked in the order of ids. */
export async function lockCreditable(
  tx: TenantTransaction,
  invoiceIds: readonly string[],
): Promise<CreditableInvoice[]> {
  const { rows } = await tx.query<{
    id: string
    customer_id: string
    customer_key: string
    subscription_id: string | null
    legal_entity_id: string | null
    number_prefix: string | null
    currency: string
    state: CreditableInvoice['state']
    total_minor: string
    credited_minor: string
    amount_due_minor: string
    settled_minor: string
  }>(
    `SELECT i.id, i.customer_id, c.external_key AS customer_key, i.subscription_id, i.currency, i.state, i.total_minor,
       i.credited_minor, i.amount_due_minor, i.settled_minor, i.legal_entity_id, e.number_prefix
     FROM invoices i JOIN customers c ON c.tenant_id = i.tenant_id AND c.id = i.customer_id
     LEFT JOIN legal_entities e ON e.tenant_id = i.tenant_id AND e.id = i.legal_entity_id
     WHERE i.id = ANY ($1::uuid[]) AND i.state <> 'draft' ORDER BY i.id FOR NO KEY UPDATE OF i`,
    [idArray([...new Set(invoiceIds)])],
  )
  // Behind the lock, so that what its holder before wrote is seen.
  const linesOf = await listCreditableLines(tx, invoiceIds)
  const beingPaid = await listBeingPaid(tx, invoiceIds)
  return rows.map((row) => ({
    id: row.id,
    customerId: row.customer_id,
    customerKey: row.customer_key,
    subscriptionId: row.subscription_id,
    legalEntityId: row.legal_entity_id,
    numberPrefix: row.number_prefix,
    currency: row.currency,
    state: row.state,
    totalMinor: BigInt(row.total_minor),
    creditedMinor: BigInt(row.credited_minor),
    amountDueMinor: BigInt(row.amount_due_minor),
    settledMinor: BigInt(row.settled_minor),
    isBeingPaid: beingPaid.has(row.id),
    lines: linesOf.get(row.id) ?? [],
  }))
}

async function listBeingPaid(tx: TenantTransaction, invoiceIds: readonly string[]): Promise<Set<string>> {
  const { rows } = await tx.query<{ invoice_id: string }>(
    "SELECT invoice_id FROM payments WHERE invoice_id = ANY ($1::uuid[]) AND state IN ('created', 'unknown')",
    [idArray([...new Set(invoiceIds)])],
  )
  return new Set(rows.map((row) => row.invoice_id))
}

/**
 * Behind the lock of their invoices; those of parts stand on the invoice that gathered them. A tax that is inside the amount
 * of a line is taken out of it.
 */
async function listCreditableLines(
  tx: TenantTransaction,
  invoiceIds: readonly string[],
): Promise<Map<string, CreditableInvoice['lines']>> {
  const { rows } = await tx.query<{
    invoice_id: string
    line_index: number
    lowers_line: number | null
    tax_inside: boolean
    net_minor: string
    tax_minor: string
    credited_net: string
    credited_tax: string
  }>(
    `SELECT coalesce(q.consolidated_id, l.invoice_id) AS invoice_id, coalesce(q.first_line, 0) + l.line_index AS line_index,
       coalesce(q.first_line, 0) + l.lowers_line AS lowers_line, coalesce(l.tax_inclusive, false) AS tax_inside,
       l.amount_minor - CASE WHEN l.tax_inclusive THEN l.tax_minor ELSE 0 END AS net_minor,
       coalesce(l.tax_minor, 0) AS tax_minor,
       coalesce(sum(n.amount_minor), 0) AS credited_net, coalesce(sum(n.tax_minor), 0) AS credited_tax
     FROM invoice_lines l
     LEFT JOIN credit_note_lines n
       ON n.tenant_id = l.tenant_id AND n.invoice_id = l.invoice_id AND n.line_index = l.line_index
     LEFT JOIN invoice_parts q ON q.tenant_id = l.tenant_id AND q.invoice_id = l.invoice_id
     WHERE l.invoice_id = ANY ($1::uuid[])
       OR l.invoice_id IN (SELECT p.invoice_id FROM invoice_parts p WHERE p.consolidated_id = ANY ($1::uuid[]))
     GROUP BY l.tenant_id, l.invoice_id, l.line_index, q.tenant_id, q.invoice_id ORDER BY 1, 2`,
    [idArray([...new Set(invoiceIds)])],
  )
  const linesOf = new Map<string, CreditableInvoice['lines'][number][]>()
  for (const row of rows) {
    const line = {
      lineIndex: row.line_index,
      lowersLine: row.lowers_line,
      taxInside: row.tax_inside,
      netMinor: BigInt(row.net_minor),
      taxMinor: BigInt(row.tax_minor),
      creditedNetMinor: BigInt(row.credited_net),
      creditedTaxMinor: BigInt(row.credited_tax),
    }
    const lines = linesOf.get(row.invoice_id)
    if (lines) lines.push(line)
    else linesOf.set(row.invoice_id, [line])
  }
  return linesOf
}

/** Before their notes, which come last. A line of a part is that of the part. */
export async function insertNoteLines(
  tx: TenantTransaction,
  notes: readonly { id: string; invoiceId: string; lines: readonly CreditNoteLine[] }[],
): Promise<void> {
  const lines = notes.flatMap(({ id, invoiceId, lines: own }) => own.map((line) => ({ id, invoiceId, ...line })))
  await tx.query(
    `INSERT INTO credit_note_lines (tenant_id, credit_note_id, invoice_id, line_index, amount_minor, tax_minor)
     SELECT app_tenant(), n.id, coalesce(q.invoice_id, n.invoice_id), n.line - coalesce(q.first_line, 0), n.net, n.tax
     FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::bigint[], $5::bigint[]) AS n (id, invoice_id, line, net, tax)
     LEFT JOIN invoice_parts q ON q.tenant_id = app_tenant() AND q.consolidated_id = n.invoice_id
       AND n.line >= q.first_line AND n.line < q.first_line + q.line_count`,
    [
      idArray(lines.map(({ id }) => id)),
      idArray(lines.map(({ invoiceId }) => invoiceId)),
      plainArray(lines.map(({ lineIndex }) => lineIndex)),
      plainArray(lines.map(({ netMinor }) => netMinor)),
      plainArray(lines.map(({ taxMinor }) => taxMinor)),
    ],
  )
}

/** Behind `lockCreditable`: what notes took back of the invoices in all, and off what was due. */
export async function raiseCredited(
  tx: TenantTransaction,
  notes: readonly Pick<CreditNote, 'invoiceId' | 'totalMinor' | 'settledMinor'>[],
): Promise<void> {
  await tx.query(
    `UPDATE invoices i SET credited_minor = i.credited_minor + n.total, settled_minor = i.settled_minor + n.settled
     FROM (SELECT id, sum(total)::bigint AS total, sum(settled)::bigint AS settled
           FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS one (id, total, settled) GROUP BY id) AS n
     WHERE i.tenant_id = app_tenant() AND i.id = n.id`,
    [
      idArray(notes.map(({ invoiceId }) => invoiceId)),
      plainArray(notes.map(({ totalMinor }) => totalMinor)),
      plainArray(notes.map(({ settledMinor }) => settledMinor)),
    ],
  )
}

export type NewCreditNote = Omit<CreditNote, 'number' | 'issuedAtMs'> & {
  legalEntityId: string | null
  numberPrefix: string | null
  idempotencyKey: string
  request: object
}

/** The notes with their numbers: the last statement of what makes them, as of invoices. Their numbers, in order. */
export async function insertNotes(
  tx: TenantTransaction,
  notes: readonly NewCreditNote[],
  atMs: number,
): Promise<string[]> {
  const { rows } = await tx.query<{ id: string; number: string }>(
    `WITH wanted AS (
       SELECT entity_id, count(*) AS notes FROM unnest($14::uuid[]) AS w (entity_id) GROUP BY entity_id
     ), locked AS (
       SELECT c.legal_entity_id, w.notes FROM credit_note_numbers c
       JOIN wanted w ON w.entity_id IS NOT DISTINCT FROM c.legal_entity_id
       ORDER BY c.legal_entity_id FOR NO KEY UPDATE OF c
     ), drawn AS (
       UPDATE credit_note_numbers c SET last_number = c.last_number + k.notes FROM locked k
       WHERE c.tenant_id = app_tenant() AND c.legal_entity_id IS NOT DISTINCT FROM k.legal_entity_id
       RETURNING c.legal_entity_id, c.last_number - k.notes AS before
     )
     INSERT INTO credit_notes
       (tenant_id, issued_at, number, id, legal_entity_id, invoice_id, customer_id, currency, idempotency_key, reason,
        subtotal_minor, tax_minor, total_minor, settled_minor, balance_minor, request)
     SELECT app_tenant(), $1, drawn.before + row_number() OVER (PARTITION BY n.entity_id ORDER BY n.position), n.id,
       n.entity_id, n.invoice_id, n.customer_id, n.currency, n.key, n.reason, n.subtotal, n.tax, n.total, n.settled,
       n.balance, n.request
     FROM ROWS FROM (
       unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[],
         $10::bigint[], $11::bigint[], $12::bigint[], $14::uuid[]), jsonb_array_elements($13::jsonb)
     ) WITH ORDINALITY
       AS n (id, invoice_id, customer_id, currency, key, reason, subtotal, tax, total, settled, balance, entity_id, request,
         position)
     JOIN drawn ON drawn.legal_entity_id IS NOT DISTINCT FROM n.entity_id
     RETURNING id, number`,
    [
      new Date(atMs),
      idArray(notes.map((note) => note.id)),
      idArray(notes.map((note) => note.invoiceId)),
      idArray(notes.map((note) => note.customerId)),
      textArray(notes.map((note) => note.currency)),
      textArray(notes.map((note) => note.idempotencyKey)),
      textArray(notes.map((note) => note.reason)),
      plainArray(notes.map((note) => note.subtotalMinor)),
      plainArray(notes.map((note) => note.taxMinor)),
      plainArray(notes.map((note) => note.totalMinor)),
      plainArray(notes.map((note) => note.settledMinor)),
      plainArray(notes.map((note) => note.balanceMinor)),
      JSON.stringify(notes.map((note) => note.request)),
      idArray(notes.map((note) => note.legalEntityId)),
    ],
  )
  if (rows.length !== notes.length) throw new Error('There is no counter of credit notes.')
  const numbers = new Map(rows.map(({ id, number }) => [id, BigInt(number)]))
  return notes.map(({ id, numberPrefix }) => formatCreditNoteNumber(numbers.get(id) ?? 0n, numberPrefix))
}

type NoteRow = {
  id: string
  number: string
  number_prefix: string | null
  invoice_id: string
  customer_id: string
  currency: string
  reason: string
  subtotal_minor: string
  tax_minor: string
  total_minor: string
  settled_minor: string
  balance_minor: string
  issued_at: Date
  lines: { line: number; net: string; tax: string }[]
  request: object
}
const NOTE = `
  SELECT n.id, n.number, n.invoice_id, n.customer_id, n.currency, n.reason, n.subtotal_minor, n.tax_minor, n.total_minor,
    n.settled_minor, n.balance_minor, n.issued_at, n.request, e.number_prefix,
    (SELECT jsonb_agg(jsonb_build_object('line', coalesce(q.first_line, 0) + l.line_index, 'net', l.amount_minor::text,
                                         'tax', l.tax_minor::text) ORDER BY coalesce(q.first_line, 0) + l.line_index)
     FROM credit_note_lines l
     LEFT JOIN invoice_parts q ON q.tenant_id = l.tenant_id AND q.invoice_id = l.invoice_id
     WHERE l.tenant_id = n.tenant_id AND l.credit_note_id = n.id) AS lines
  FROM credit_notes n
  LEFT JOIN legal_entities e ON e.tenant_id = n.tenant_id AND e.id = n.legal_entity_id`

/** Of one invoice, oldest first. */
export async function listNotes(tx: TenantTransaction, invoiceId: string): Promise<CreditNote[]> {
  const { rows } = await tx.query<NoteRow>(`${NOTE} WHERE n.invoice_id = $1 ORDER BY n.number`, [invoiceId])
  return rows.map(noteFromRow)
}

/** What an idempotency key made of which request. */
export async function findNoteByKey(
  tx: TenantTransaction,
  invoiceId: string,
  idempotencyKey: string,
): Promise<{ note: CreditNote; request: object } | undefined> {
  const { rows } = await tx.query<NoteRow>(`${NOTE} WHERE n.invoice_id = $1 AND n.idempotency_key = $2`, [
    invoiceId,
    idempotencyKey,
  ])
  return rows.map((row) => ({ note: noteFromRow(row), request: row.request }))[0]
}

function noteFromRow(row: NoteRow): CreditNote {
  return {
    id: row.id,
    number: formatCreditNoteNumber(BigInt(row.number), row.number_prefix),
    invoiceId: row.invoice_id,
    customerId: row.customer_id,
    currency: row.currency,
    reason: row.reason,
    lines: row.lines.map(({ line, net, tax }) => ({ lineIndex: line, netMinor: BigInt(net), taxMinor: BigInt(tax) })),
    subtotalMinor: BigInt(row.subtotal_minor),
    taxMinor: BigInt(row.tax_minor),
    totalMinor: BigInt(row.total_minor),
    settledMinor: BigInt(row.settled_minor),
    balanceMinor: BigInt(row.balance_minor),
    issuedAtMs: row.issued_at.getTime(),
  }
}
