import type { Pool } from 'pg'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import type { App } from '../../../schemas/http/door.ts'
import { openmeterEventListDoor } from './events.http.ts'
import { openmeterMetersDoor } from './meters.http.ts'
import { openmeterQueryDoor } from './query.http.ts'
import { openmeterSubjectsDoor } from './subjects.http.ts'

export type OpenmeterDeps = { app: App; pool: Pool; store: ClickHouseStore; reads: ClickHouseStore; now: () => number }

/** What clients of OpenMeter ask, under /openmeter: meters, usage, subjects, stored events. Ingest has its own door. */
export function openmeterDoors({ app, pool, store, reads, now }: OpenmeterDeps): void {
  openmeterMetersDoor(app, { pool, store, now })
  openmeterQueryDoor(app, { pool, store: reads })
  openmeterSubjectsDoor(app, { pool, now })
  openmeterEventListDoor(app, { pool, store: reads, now })
}
