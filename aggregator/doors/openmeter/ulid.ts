import { randomBytes } from 'node:crypto'

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** An id as clients of OpenMeter expect one: ten letters of time, sixteen of chance. */
export function ulid(nowMs: number): string {
  let time = ''
  for (let rest = nowMs; time.length < 10; rest = Math.floor(rest / 32)) time = CROCKFORD.charAt(rest % 32) + time
  return time + [...randomBytes(16)].map((byte) => CROCKFORD.charAt(byte % 32)).join('')
}
