import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { openChdb } from '../../ops/embedded/chdb.clickhouse.ts'
import { clickHouseStoreContract } from './clickhouse-store.ts'

const folder = mkdtempSync(join(tmpdir(), 'tallyline-contract-'))
clickHouseStoreContract('chDB in this process', () => openChdb(join(folder, 'clickhouse'), 4))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
