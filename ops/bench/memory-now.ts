import { readFileSync } from 'node:fs'

/** Resident bytes of this process; `fileBytes` of them are pages of mapped files, which the kernel takes back at need. */
export type Memory = { rssBytes: number; fileBytes: number }

export function memoryNow(): Memory {
  return { rssBytes: process.memoryUsage.rss(), fileBytes: mappedFileBytes() }
}

/** LMDB's files are mapped: what was read of them counts as resident. Known on Linux only. */
function mappedFileBytes(): number {
  if (process.platform !== 'linux') return 0
  const [, kilobytes = '0'] = /^RssFile:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  return Number(kilobytes) * 1024
}
