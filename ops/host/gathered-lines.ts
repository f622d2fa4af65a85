import type { DestinationStream } from 'pino'

/**
 * Hands on all lines of one turn of the event loop in one write: a request for a hundred events leaves a line per
 * subject, and a system call for each would cost more than the line. What waits is written when the process exits; a
 * kill -9 takes the lines of one turn.
 */
export function gatherLines(sink: DestinationStream): DestinationStream {
  let waiting = ''
  const flush = () => {
    if (waiting === '') return
    const lines = waiting
    waiting = ''
    sink.write(lines)
  }
  process.once('exit', flush)
  return {
    write: (line) => {
      if (waiting === '') setImmediate(flush)
      waiting += line
    },
  }
}
