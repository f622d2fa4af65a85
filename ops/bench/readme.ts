const BEGIN = '<!-- bench -->'
const END = '<!-- /bench -->'

/** The text with the table between the markers, which must be there. */
export function withTable(readme: string, table: string): string {
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)]
  if (begin < 0 || end < begin) throw new Error(`README.md has no place for the table: ${BEGIN} and ${END}`)
  return `${readme.slice(0, begin + BEGIN.length)}\n${table.trim()}\n${readme.slice(end)}`
}
