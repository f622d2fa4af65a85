import { addUsage, type MeteredUsage, NO_USAGE, type UsageRequest } from './usage.ts'

/** Requests as they are read, and what they come to by the keys that were asked for; what was not found is nothing. */
export type InParts = {
  read: UsageRequest[]
  answersOf: (found: ReadonlyMap<string, MeteredUsage>) => Map<string, MeteredUsage>
}

/** Those that add up in time are read part by part, each part a request of its own. */
export function inParts(requests: readonly UsageRequest[], addsUp: (request: UsageRequest) => boolean): InParts {
  const readFor = requests.map((request) => {
    const { parts, ...whole } = request
    if (parts === undefined || !addsUp(request)) return [request]
    return parts.map((part, index) => ({ ...whole, ...part, key: `${whole.key}\n${index}` }))
  })
  return {
    read: readFor.flat(),
    answersOf: (found) =>
      new Map(
        requests.map(({ key }, place) => {
          const [first = NO_USAGE, ...rest] = (readFor[place] ?? []).map((one) => found.get(one.key) ?? NO_USAGE)
          return [key, rest.reduce(addUsage, first)]
        }),
      ),
  }
}
