import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'

export type TenantSettings = {
  /** The door for emitters of OpenMeter takes events of types that nobody registered. */
  openmeter_open_types: boolean
}

/** A tenant that set nothing has the defaults. */
export async function readSettings(tx: TenantTransaction): Promise<TenantSettings> {
  const { rows } = await tx.query<TenantSettings>('SELECT openmeter_open_types FROM tenant_settings')
  return rows[0] ?? { openmeter_open_types: true }
}

export async function storeSettings(tx: TenantTransaction, settings: TenantSettings, at: Date): Promise<void> {
  await tx.query(
    `INSERT INTO tenant_settings (tenant_id, openmeter_open_types, updated_at) VALUES (app_tenant(), $1, $2)
     ON CONFLICT (tenant_id) DO UPDATE
     SET openmeter_open_types = excluded.openmeter_open_types, updated_at = excluded.updated_at`,
    [settings.openmeter_open_types, at],
  )
}
