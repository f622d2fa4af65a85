export function lesser(one: bigint, other: bigint): bigint {
  return one < other ? one : other
}

/** Below zero a counter would admit more than its limit. */
export function atLeastZero(micro: bigint): bigint {
  return micro > 0n ? micro : 0n
}
