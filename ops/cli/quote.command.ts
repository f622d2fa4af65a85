import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import { quoteLine } from '../../invoicer/billing/quote/quote.ts'

const HELP = `Usage: tallyline quote --cases FILE|-

Computes prices, periods, prorations and aggregates without any store or setting: one JSON case a line in, from a file
or from standard input, one JSON answer a line out, in the same order; blank lines are skipped. A case that is wrong answers
{"error":{"field":"…","message":"…"}} on its line, and the rest go on; the exit code is 0. Decimals are strings. An "id"
in a case comes back in its answer.

  {"kind":"price","currency":"USD","price":{…},"quantity":"12","already_billed":{"quantity":"7","amount":"70"},"final":false}
    instead of quantity: "events":[{"value":"50","time":"2024-04-01T00:00:00Z","properties":{"region":"eu"}}]
    price, by its model:
      flat {amount}   per_unit {unit_amount}   graduated, volume {tiers:[{up_to,unit_amount,flat_amount}]}
      package {amount,package_size,round:"up"|"down"}   graduated_percentage {tiers:[{up_to,rate,flat_amount}]}
      percentage {rate,fixed_amount,free_units,free_events,min_per_event,max_per_event}   dynamic {multiplier}
      matrix {dimensions,cells:[{when:{region:"eu"},unit_amount}],default_unit_amount}
      on any: included_units, discount_percent, commitment_amount, overage_factor, maximum_amount, minimum_amount
  {"kind":"proration","basis":"second|day","timezone":"UTC","period":{"start":…,"end":…},"at":…,"from":"100.00",
   "to":"300.00","currency":"USD"}
  {"kind":"periods","anchor":"2024-01-31T00:00:00Z","interval":"month","every":1,"timezone":"UTC","count":12}
  {"kind":"aggregate","aggregation":"time_weighted_sum","events":[…],"initial":"0","period":{"start":…,"end":…}}
    of a percentile: "percentile":"95"; of a sum or max for each hour or day: "window":"hour"|"day"

What is null counts as left out. A time without an offset is of UTC. Of events with one source and id the first counts.
A case may carry name, note, description, source, expect, comment and tags, and an event what it was sent with; any
other member that is not known is an error.
`

const NEWLINE = 0x0a
/** Enough for a case of 200,000 events; what is longer is skipped, so that memory stays bounded whatever it holds. */
const LONGEST_LINE_BYTES = 16 * 1024 * 1024
const TOO_LONG = JSON.stringify({
  error: {
    field: 'case',
    message: `A line holds ${LONGEST_LINE_BYTES} bytes at most: send a total instead of events.`,
  },
})

type Streams = { stdin: NodeJS.ReadableStream; stdout: NodeJS.WritableStream; stderr: NodeJS.WritableStream }

export async function quoteCommand(argv: string[], { stdin, stdout, stderr }: Streams): Promise<number> {
  const options = { cases: { type: 'string' }, help: { type: 'boolean' } } as const
  const { values } = parseArgs({ args: argv, options })
  const file = values.cases
  if (values.help || file === undefined) {
    ;(values.help ? stdout : stderr).write(HELP)
    return values.help ? 0 : 1
  }
  const isFile = file === '-' || (await stat(file).catch(() => undefined))?.isDirectory() === false
  if (!isFile) {
    stderr.write(`There is no file ${file}.\n`)
    return 1
  }
  try {
    const input = file === '-' ? stdin : createReadStream(file, { highWaterMark: 1024 * 1024 })
    await pipeline(input, answers, stdout, { end: false })
    return 0
  } catch (error) {
    // Whoever read the answers has enough of them.
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') return 0
    throw error
  }
}

/** One answer a line that is not blank. Those of a chunk leave together, and no more is read before they have left. */
export async function* answers(input: AsyncIterable<Buffer | string>): AsyncGenerator<string> {
  let parts: Buffer[] = []
  let bytes = 0
  let lines = 0
  const answer = (last: Buffer) => {
    const isTooLong = bytes + last.length > LONGEST_LINE_BYTES
    const text = isTooLong ? '' : Buffer.concat([...parts, last]).toString('utf8')
    parts = []
    bytes = 0
    lines += 1
    if (isTooLong) return `${TOO_LONG}\n`
    return text.trim() === '' ? '' : `${quoteLine(lines === 1 ? text.replace(/^\uFEFF/, '') : text)}\n`
  }
  for await (const given of input) {
    const chunk = typeof given === 'string' ? Buffer.from(given) : given
    let answered = ''
    let from = 0
    // Lines end with \n alone: other line ends may stand in JSON text.
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      answered += answer(chunk.subarray(from, end))
      from = end + 1
    }
    if (answered !== '') yield answered
    const rest = chunk.subarray(from)
    bytes += rest.length
    if (bytes > LONGEST_LINE_BYTES) parts = []
    else if (rest.length > 0) parts.push(rest)
  }
  if (bytes > 0) yield answer(Buffer.alloc(0))
}
