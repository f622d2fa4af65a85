/** What something says, each as its path and its JSON. */
export type Leaves = Record<string, string>

export function leavesOf(value: object): Leaves {
  return Object.fromEntries(leaves('', value))
}

function leaves(path: string, value: unknown): [string, string][] {
  if (typeof value !== 'object' || value === null) return [[path, JSON.stringify(value)]]
  const named = Array.isArray(value)
    ? value.map((member, index): [string, unknown] => [`${path}[${index}]`, member])
    : Object.entries(value).map(([name, member]): [string, unknown] => [path === '' ? name : `${path}.${name}`, member])
  return named.flatMap(([at, member]) => leaves(at, member))
}

/** What is gone and what is new, a path a line; empty where both say the same. */
export function linesOf(before: Leaves, after: Leaves): string[] {
  const paths = [...new Set([...Object.keys(before), ...Object.keys(after)])]
  return paths.flatMap((path) => {
    if (before[path] === after[path]) return []
    const gone = before[path] === undefined ? [] : [`- ${path}: ${before[path]}`]
    return after[path] === undefined ? gone : [...gone, `+ ${path}: ${after[path]}`]
  })
}
