import { describe, expect, test } from 'vitest'
import { meterTokens, readTokens } from '../../sdk/typescript/src/tokens.ts'
import { clientOf } from './support/client.ts'
import { quotaModel } from './support/quota-model.ts'

const RESPONSES: [string, object, object | undefined][] = [
  [
    'OpenAI chat',
    { usage: { prompt_tokens: 374, completion_tokens: 44, total_tokens: 418 } },
    { input: 374, output: 44 },
  ],
  [
    'OpenAI chat from the cache',
    { usage: { prompt_tokens: 374, completion_tokens: 44, prompt_tokens_details: { cached_tokens: 256 } } },
    { input: 374, output: 44, cached: 256 },
  ],
  [
    'OpenAI responses',
    { usage: { input_tokens: 36, output_tokens: 87, input_tokens_details: { cached_tokens: 0 } } },
    { input: 36, output: 87, cached: 0 },
  ],
  ['OpenAI embeddings', { usage: { prompt_tokens: 8, total_tokens: 8 } }, { input: 8, output: 0 }],
  ['Anthropic', { usage: { input_tokens: 12, output_tokens: 6 } }, { input: 12, output: 6 }],
  [
    'Anthropic with its cache',
    { usage: { input_tokens: 12, cache_read_input_tokens: 1_000, cache_creation_input_tokens: 200, output_tokens: 6 } },
    { input: 1_212, output: 6, cached: 1_000 },
  ],
  [
    'Gemini',
    { usageMetadata: { promptTokenCount: 9, candidatesTokenCount: 50, totalTokenCount: 59 } },
    { input: 9, output: 50 },
  ],
  [
    'Gemini that thought',
    { usageMetadata: { promptTokenCount: 9, candidatesTokenCount: 50, thoughtsTokenCount: 100 } },
    { input: 9, output: 150 },
  ],
  ['none', { choices: [] }, undefined],
  ['usage of another kind', { usage: { seconds: 4 } }, undefined],
]

/** Issue 6: the wrapper for LLM calls meters tokens from the response. */
describe('tokens of a response', () => {
  test.each(RESPONSES)('%s', (_name, response, tokens) => {
    expect(readTokens(response)).toEqual(tokens)
  })

  test('what is no object has none', () => {
    expect([undefined, null, 'text', 7].map((each) => readTokens(each))).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
    ])
  })
})

async function* streamOf(pieces: object[], failure?: Error) {
  yield* pieces
  if (failure) throw failure
}
async function read(stream: AsyncIterable<unknown>, most = Number.POSITIVE_INFINITY): Promise<unknown[]> {
  const seen: unknown[] = []
  for await (const piece of stream) {
    seen.push(piece)
    if (seen.length >= most) break
  }
  return seen
}

const STREAMS: [string, object[], object][] = [
  [
    'OpenAI chat, usage in the last piece',
    [
      { choices: [{}], usage: null },
      { choices: [{}] },
      { choices: [], usage: { prompt_tokens: 5, completion_tokens: 7 } },
    ],
    { context_tokens: 5, generated_tokens: 7 },
  ],
  [
    'OpenAI responses',
    [
      { type: 'response.created', response: { usage: null } },
      { type: 'response.completed', response: { usage: { input_tokens: 5, output_tokens: 7 } } },
    ],
    { context_tokens: 5, generated_tokens: 7 },
  ],
  [
    'Anthropic, input first and output last',
    [
      { type: 'message_start', message: { usage: { input_tokens: 5, output_tokens: 1 } } },
      { type: 'content_block_delta' },
      { type: 'message_delta', usage: { output_tokens: 7 } },
    ],
    { context_tokens: 5, generated_tokens: 7 },
  ],
  [
    'Gemini, growing',
    [
      { usageMetadata: { promptTokenCount: 5, candidatesTokenCount: 2 } },
      { usageMetadata: { promptTokenCount: 5, candidatesTokenCount: 7 } },
    ],
    { context_tokens: 5, generated_tokens: 7 },
  ],
]

describe('meterTokens', () => {
  const subject = (customer: string) => customer

  test('a response is handed on, and told', async () => {
    const { tallyline, clock, sent } = clientOf()
    const response = { usage: { prompt_tokens: 374, completion_tokens: 44 } }
    const call = meterTokens(tallyline, async (_customer: string) => response, { subject })
    expect(await call('customer-1')).toBe(response)
    await clock.pass(200)
    expect(sent[0]?.body).toMatchObject([
      { type: 'llm.request', subject: 'customer-1', data: { context_tokens: 374, generated_tokens: 44 } },
    ])
  })

  test.each(STREAMS)('a stream of %s is handed on piece by piece and told at its end', async (_name, pieces, data) => {
    const { tallyline, clock, sent } = clientOf()
    const call = meterTokens(tallyline, (_customer: string) => streamOf(pieces), { subject })
    expect(await read(await call('customer-1'))).toEqual(pieces)
    await clock.pass(200)
    expect(sent[0]?.body).toMatchObject([{ data }])
  })

  test('a stream that breaks, or that nobody reads to its end, is told as far as it is known', async () => {
    const { tallyline, clock, sent } = clientOf()
    const pieces = [{ message: { usage: { input_tokens: 5, output_tokens: 1 } } }, { usage: { output_tokens: 3 } }, {}]
    const broken = meterTokens(tallyline, (_customer: string) => streamOf(pieces, new Error('cut')), { subject })
    await expect(read(await broken('customer-1'))).rejects.toThrow('cut')
    await read(await broken('customer-1'), 1)
    await clock.pass(200)
    expect(sent[0]?.body).toMatchObject([
      { data: { context_tokens: 5, generated_tokens: 3 } },
      { data: { context_tokens: 5, generated_tokens: 1 } },
    ])
  })

  test('other members of a stream are as they were', async () => {
    const { tallyline } = clientOf()
    class Stream {
      readonly controller = new AbortController()
      #private = 7
      secret() {
        return this.#private
      }
      async *[Symbol.asyncIterator]() {
        yield { usage: { prompt_tokens: this.#private } }
      }
    }
    const stream = await meterTokens(tallyline, (_customer: string) => new Stream(), { subject })('customer-1')
    expect(stream).toBeInstanceOf(Stream)
    expect(stream.secret()).toBe(7)
    expect(stream.controller.signal.aborted).toBe(false)
    expect(await read(stream)).toHaveLength(1)
    expect(tallyline.stats().emitted).toBe(1)
  })

  /** What the platform made cannot be wrapped: `new Response(…)` and `pipeThrough` take only streams of its own. */
  describe('a web stream', () => {
    const pieces = [{ choices: [{}] }, { usage: { prompt_tokens: 5, completion_tokens: 7 } }]
    const streamed = async () => {
      const client = clientOf()
      const call = meterTokens(client.tallyline, (_customer: string) => ReadableStream.from(pieces), { subject })
      return { ...client, stream: await call('customer-1') }
    }

    test('is one still, and told at its end however it is read', async () => {
      const { stream, clock, sent } = await streamed()
      const lines = stream.pipeThrough(
        new TransformStream({ transform: (piece, to) => to.enqueue(`${JSON.stringify(piece)}\n`) }),
      )
      const text = await new Response(lines.pipeThrough(new TextEncoderStream())).text()
      expect(
        text
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line)),
      ).toEqual(pieces)
      await clock.pass(200)
      expect(sent[0]?.body).toMatchObject([{ data: { context_tokens: 5, generated_tokens: 7 } }])
    })

    test('that is cancelled is told as far as it is known', async () => {
      const { stream, clock, sent, tallyline } = await streamed()
      const reader = stream.getReader()
      await reader.read()
      await reader.read()
      await reader.cancel()
      await clock.pass(200)
      expect(sent[0]?.body).toMatchObject([{ data: { context_tokens: 5, generated_tokens: 7 } }])
      expect(tallyline.stats().emitted).toBe(1)
    })

    test('that breaks is told too, and breaks for its reader', async () => {
      const { tallyline, dead } = clientOf()
      const broken = () =>
        new ReadableStream({
          pull: () => {
            throw new Error('cut')
          },
        })
      const stream = await meterTokens(tallyline, (_customer: string) => broken(), { subject })('customer-1')
      await expect(stream.getReader().read()).rejects.toThrow('cut')
      expect(dead).toHaveLength(1)
    })
  })

  test('an estimate is free again when the response carries no usage', async () => {
    const { tallyline, dead } = clientOf(quotaModel(600, () => 0).answer)
    const draw = { meter: 'tokens', quantity: () => 600 }
    const call = meterTokens(tallyline, async (_customer: string) => ({}), { subject, draw })
    await call('customer-1')
    await call('customer-1')
    expect(dead).toHaveLength(2)
  })

  test('an error in what corrects the estimate breaks no stream', async () => {
    const { tallyline, dead } = clientOf(quotaModel(600, () => 0).answer)
    const actual = () => {
      throw new Error('mine')
    }
    const pieces = [{ usage: { prompt_tokens: 5, completion_tokens: 7 } }]
    const draw = { meter: 'tokens', actual }
    const call = meterTokens(tallyline, (_customer: string) => streamOf(pieces), { subject, draw })
    expect(await read(await call('customer-1'))).toEqual(pieces)
    expect(dead).toMatchObject([{ message: 'mine' }])
  })

  test('a response without usage goes to onDead; a call that fails is told to nobody', async () => {
    const { tallyline, dead } = clientOf()
    await meterTokens(tallyline, async (_customer: string) => ({}), { subject })('customer-1')
    expect(dead).toMatchObject([{ code: 'invalid_event', message: expect.stringContaining('carries no token usage') }])
    const failing = meterTokens(tallyline, async (_customer: string) => Promise.reject(new Error('overloaded')), {
      subject,
    })
    await expect(failing('customer-1')).rejects.toThrow('overloaded')
    expect(tallyline.stats().emitted).toBe(1)
  })

  test('an estimate is checked before, and the tokens of the response are what is drawn', async () => {
    const model = quotaModel(1_000, () => 0)
    const { tallyline } = clientOf(model.answer)
    const draw = {
      meter: 'tokens',
      quantity: () => 600,
      actual: ({ input, output }: { input: number; output: number }) => input + output,
    }
    const response = { usage: { prompt_tokens: 300, completion_tokens: 100 } }
    const call = meterTokens(tallyline, async (_customer: string) => response, { subject, draw })
    await call('customer-1')
    await call('customer-1')
    await expect(call('customer-1')).rejects.toMatchObject({ code: 'quota_exceeded' })
  })
})
