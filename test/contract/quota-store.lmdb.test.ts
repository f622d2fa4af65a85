import { openEmbeddedLog } from '../support/embedded-stores.ts'
import { describeQuotaStore } from './quota-store.ts'

describeQuotaStore('lmdb', async (now) => {
  const { quota, close } = await openEmbeddedLog(now)
  return { store: quota, close }
})
