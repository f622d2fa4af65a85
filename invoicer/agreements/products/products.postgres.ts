import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idOrNull, type Page } from '../../transaction.ts'
import type { Product } from './product.ts'

type ProductRow = {
  id: string
  key: string
  name: string
  description: string | null
  metadata: Record<string, string>
  prices: Record<string, string>
  archived_at: Date | null
  created_at: Date
}
const PRODUCT = 'SELECT id, key, name, description, metadata, prices, archived_at, created_at FROM products'

/** False where the key is taken; waits for a transaction that is about to take it. */
export async function insertProduct(tx: TenantTransaction, product: Product): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO products (tenant_id, id, key, name, description, metadata, prices, created_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5::jsonb, $6::jsonb, $7) ON CONFLICT (tenant_id, key) DO NOTHING`,
    [
      ...[product.id, product.key, product.name, product.description, JSON.stringify(product.metadata)],
      ...[JSON.stringify(product.prices), new Date(product.createdAtMs)],
    ],
  )
  return rowCount === 1
}

/** Behind `lockProduct`. */
export async function updateProduct(tx: TenantTransaction, product: Product): Promise<void> {
  const { id, name, description, metadata, prices, archivedAtMs } = product
  await tx.query(
    `UPDATE products SET name = $2, description = $3, metadata = $4::jsonb, prices = $5::jsonb, archived_at = $6
     WHERE id = $1`,
    [
      ...[id, name, description, JSON.stringify(metadata), JSON.stringify(prices)],
      archivedAtMs === null ? null : new Date(archivedAtMs),
    ],
  )
}

/** Until the end of the transaction nobody else changes it. */
export async function lockProduct(tx: TenantTransaction, id: string): Promise<void> {
  await tx.query('SELECT 1 FROM products WHERE id = $1 FOR NO KEY UPDATE', [id])
}

/** An id wins over a key that looks like one. */
export async function findProduct(tx: TenantTransaction, idOrKey: string): Promise<Product | undefined> {
  const { rows } = await tx.query<ProductRow>(
    `${PRODUCT} WHERE id = $1::uuid OR key = $2 ORDER BY id = $1::uuid DESC NULLS LAST LIMIT 1`,
    [idOrNull(idOrKey), idOrKey],
  )
  return rows.map(fromRow)[0]
}

export async function findProductByKey(tx: TenantTransaction, key: string): Promise<Product | undefined> {
  const { rows } = await tx.query<ProductRow>(`${PRODUCT} WHERE key = $1`, [key])
  return rows.map(fromRow)[0]
}

export async function listProducts(tx: TenantTransaction, page: Page): Promise<Product[]> {
  const { rows } = await tx.query<ProductRow>(`${PRODUCT} WHERE ($1::uuid IS NULL OR id > $1) ORDER BY id LIMIT $2`, [
    page.after,
    page.limit,
  ])
  return rows.map(fromRow)
}

function fromRow(row: ProductRow): Product {
  return {
    id: row.id,
    key: row.key,
    name: row.name,
    description: row.description,
    metadata: row.metadata,
    prices: row.prices,
    archivedAtMs: row.archived_at?.getTime() ?? null,
    createdAtMs: row.created_at.getTime(),
  }
}
