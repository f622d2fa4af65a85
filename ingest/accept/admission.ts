import { Problem } from '../../schemas/http/problem.ts'

/** Lets requests in as long as what they may unpack to fits; each holds its share until it is answered. */
export type Admission = { hold<T>(bytes: number, work: () => Promise<T>): Promise<T> }

/** Parsed events take about five times their bytes: this keeps the process within its memory. */
export const ADMITTED_BYTES = 128 * 1024 ** 2

export function createAdmission(mostBytes: number): Admission {
  let heldBytes = 0
  return {
    hold: async (bytes, work) => {
      if (heldBytes > 0 && heldBytes + bytes > mostBytes) {
        const detail = 'Too much is being read at the moment: nothing of this request was kept, send it again'
        throw new Problem('overloaded', detail, { retryAfterSeconds: 1 })
      }
      heldBytes += bytes
      try {
        return await work()
      } finally {
        heldBytes -= bytes
      }
    },
  }
}
