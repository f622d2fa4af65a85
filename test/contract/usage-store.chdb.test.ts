import { openUsageStore } from '../support/embedded-stores.ts'
import { describeUsageStore } from './usage-store.ts'

describeUsageStore('chdb', openUsageStore)
