import { admit, type Draw } from './admit.ts'
import { readTokens, type Tokens } from './read-tokens.ts'
import type { Tallyline } from './tallyline.ts'

export { type Draw, QuotaRefused } from './admit.ts'
export { readTokens, type Tokens } from './read-tokens.ts'

export type TokenOptions<Args extends unknown[]> = {
  subject: (...args: Args) => string
  /** `llm.request` when not given. */
  type?: string
  /** `{ context_tokens, generated_tokens }` when not given. */
  data?: (tokens: Tokens, ...args: Args) => object
  /** Checked before with an estimate, corrected by the tokens of the response. */
  draw?: Draw<Args, Tokens>
}

const NO_USAGE = 'the response carries no token usage; when streaming, ask the provider to include it'

/**
 * A call of a language model, with an event for the tokens that its response says. A stream is handed on piece by piece and
 * told when it ends, however it ends; a response without usage goes to onDead and draws nothing.
 */
export function meterTokens<Args extends unknown[], Result>(
  tallyline: Tallyline,
  call: (...args: Args) => Result | Promise<Result>,
  options: TokenOptions<Args>,
): (...args: Args) => Promise<Result> {
  const { subject, type = 'llm.request', data = plainData, draw } = options
  return async (...args) => {
    const admitted = await admit(tallyline, draw, subject, args)
    let told = false
    const tell = (tokens: Tokens | undefined) => {
      if (told) return
      told = true
      tallyline.emit(() => {
        if (!tokens) throw new Error(NO_USAGE)
        return { type, hold: admitted.hold, subject: subject(...args), data: data(tokens, ...args) }
      })
      if (tokens) admitted.done(tokens)
      else admitted.undone()
    }
    let result: Result
    try {
      result = await call(...args)
    } catch (error) {
      admitted.undone()
      throw error
    }
    if (isWebStream(result)) return webStreamTold(result, tell) as typeof result
    if (isStream(result)) return withStreamTold(result, tell)
    tell(readTokens(result))
    return result
  }
}

function plainData({ input, output }: Tokens): object {
  return { context_tokens: input, generated_tokens: output }
}

function isStream(value: unknown): value is AsyncIterable<unknown> & object {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}

function isWebStream(value: unknown): value is ReadableStream<unknown> {
  return typeof ReadableStream === 'function' && value instanceof ReadableStream
}

/** Another stream with the same pieces: the platform takes none that is wrapped. Nothing is read before it is asked for. */
function webStreamTold(stream: ReadableStream<unknown>, tell: (tokens: Tokens | undefined) => void) {
  const reader = stream.getReader()
  let tokens: Tokens | undefined
  return new ReadableStream<unknown>(
    {
      pull: async (controller) => {
        try {
          const { done, value } = await reader.read()
          if (!done) {
            tokens = readTokens(value, tokens) ?? tokens
            return controller.enqueue(value)
          }
          tell(tokens)
          controller.close()
        } catch (error) {
          tell(tokens)
          throw error
        }
      },
      cancel: (reason) => {
        tell(tokens)
        return reader.cancel(reason)
      },
    },
    { highWaterMark: 0 },
  )
}

/** The same object, but who iterates over it gets its pieces through `toldAtEnd`. */
function withStreamTold<Stream extends AsyncIterable<unknown> & object>(
  stream: Stream,
  tell: (tokens: Tokens | undefined) => void,
): Stream {
  return new Proxy(stream, {
    get: (target, name) => {
      if (name === Symbol.asyncIterator) return () => toldAtEnd(target, tell)
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

async function* toldAtEnd(stream: AsyncIterable<unknown>, tell: (tokens: Tokens | undefined) => void) {
  let tokens: Tokens | undefined
  try {
    for await (const piece of stream) {
      tokens = readTokens(piece, tokens) ?? tokens
      yield piece
    }
  } finally {
    tell(tokens)
  }
}
