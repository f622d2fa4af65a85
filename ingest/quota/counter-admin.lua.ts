import { NATURAL } from './quota-numbers.lua.ts'

/**
 * Sets the counter KEYS[1] to ARGV[2] if it still is ARGV[1], or, where that is empty, if it holds no natural number.
 * ARGV[3]: for how many seconds it lives. Answers whether it did.
 */
export const CORRECT_SCRIPT = `${NATURAL}
local digits = redis.call('GET', KEYS[1])
if not digits then return 0 end
if ARGV[1] == '' and isNatural(digits) or ARGV[1] ~= '' and ARGV[1] ~= digits then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
`
