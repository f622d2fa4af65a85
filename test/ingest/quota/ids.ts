import { v7 } from 'uuid'

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
let made = 0

/** New ids with a time so many minutes from `nowMs`. */
export function uuid(minutes: number, nowMs = Date.now()): string {
  return v7({ msecs: Math.floor(nowMs + minutes * 60_000) })
}

export function ulid(minutes: number, nowMs = Date.now()): string {
  return crockford(Math.floor(nowMs + minutes * 60_000), 10) + crockford(made++, 16)
}

function crockford(value: number, digits: number): string {
  return Array.from({ length: digits }, (_, place) =>
    CROCKFORD.charAt(Math.floor(value / 32 ** (digits - 1 - place)) % 32),
  ).join('')
}
