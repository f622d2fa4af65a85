export type Env = Record<string, string | undefined>

/** Where the data lies: TALLYLINE_DATA, or ./.tallyline. */
export function dataFolderOf(env: Env): string {
  return env.TALLYLINE_DATA || '.tallyline'
}

/** PORT as a number; 8081 when not given. */
export function portOf(env: Env): number {
  const text = env.PORT || '8081'
  const port = Number(text)
  if (!/^\d+$/.test(text) || port > 65_535) throw new Error(`PORT is '${text}': it must be a number from 0 to 65535`)
  return port
}

/** QUOTA_ENFORCEMENT: false records beyond a limit without refusing. */
export function enforceQuotaOf(env: Env): boolean {
  const text = env.QUOTA_ENFORCEMENT || 'true'
  if (text !== 'true' && text !== 'false') throw new Error(`QUOTA_ENFORCEMENT is '${text}': it must be true or false`)
  return text === 'true'
}

/** BILLING_CRON (UTC): when billing runs start by themselves; 'off': only on demand. Every hour when not given. */
export function cronOf(env: Env): string | undefined {
  const text = env.BILLING_CRON || '5 * * * *'
  return text === 'off' ? undefined : text
}
