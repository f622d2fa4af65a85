import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { openTenant } from '../../integrity/catalog.ts'
import { apiOf } from '../../support/api.ts'
import { newDataFolder, type Product, removeDataFolder, startProduct } from '../../support/product.ts'
import { REPOSITORY } from '../../support/source-files.ts'

const ENTRY = join(REPOSITORY, 'test/ingest/quota/hold-and-be-killed.ts')

type Granted = { hold_id?: string; lease_id?: string; quantity: string; quota_remaining: string }

/**
 * kill -9 of ingest between a hold and its answer, for a reservation and for a lease: asked again with the same key
 * nothing is held twice, on whichever store the environment names.
 */
export async function expectHeldOnce(env: Record<string, string>): Promise<void> {
  const folder = newDataFolder()
  const file = join(folder, 'die-after-hold')
  const start = () => startProduct(folder, [ENTRY], { ...env, TALLYLINE_TEST: file })
  let product: Product & { key: string } = await start()
  const key = await openTenant(apiOf(product.url, product.key), 'held')
  const api = () => apiOf(product.url, key)
  await api().call('PUT', '/event-types/work', {
    schema: { type: 'record', name: 'Work', fields: [{ name: 'size', type: 'long' }] },
  })
  await api().call('PUT', '/meters/size', { event_type: 'work', aggregation: 'sum', value: 'size' })
  await api().call('PUT', '/quota/s/size', { limit: '100', window: 'month' })
  const ask = async (path: string, name: string) => {
    const headers = {
      ...{ authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      'idempotency-key': name,
    }
    // Long enough that a new process is up before it ends.
    const body = JSON.stringify({ subject: 's', meter: 'size', quantity: '30', expires_in_ms: 3_600_000 })
    const answer = await fetch(`${product.url}/api/v1/quota/${path}`, { method: 'POST', headers, body })
    return (await answer.json()) as Granted
  }
  for (const [path, left] of [
    ['reserve', '70'],
    ['leases', '40'],
  ] as const) {
    writeFileSync(file, '')
    await expect(ask(path, 'k')).rejects.toThrow()
    expect(await product.exited).toEqual({ code: null, signal: 'SIGKILL' })
    // It died at that place, and not elsewhere.
    expect(existsSync(file)).toBe(false)
    product = await start()
    const granted = await ask(path, 'k')
    expect(granted).toMatchObject({ quantity: '30', quota_remaining: left })
    expect(await ask(path, 'k')).toEqual(granted)
  }
  const { limits } = await api().call<{ limits: { used: string }[] }>('GET', '/quota/s')
  expect(limits).toMatchObject([{ used: '60', remaining: '40' }])
  await product.stop('SIGTERM')
  await removeDataFolder(folder)
}
