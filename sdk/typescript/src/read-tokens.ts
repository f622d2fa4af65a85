/** `cached`: those of the input that came from the provider's cache, where it says so. */
export type Tokens = { input: number; output: number; cached?: number }

/**
 * The tokens of a response, or of a piece of a stream, as OpenAI (chat and responses), Anthropic and Gemini write them.
 * What this piece does not say stands as in the pieces before it.
 */
export function readTokens(response: unknown, before?: Tokens): Tokens | undefined {
  const usage = usageOf(response)
  if (!usage) return undefined
  const cached = cachedOf(usage) ?? before?.cached
  const input = inputOf(usage) ?? before?.input
  const output = outputOf(usage) ?? before?.output
  if (input === undefined && output === undefined) return undefined
  return { input: input ?? 0, output: output ?? 0, ...(cached === undefined ? {} : { cached }) }
}

type Json = Record<string, unknown>

/** Anthropic's streams begin with a message and OpenAI's responses end with one: both carry the usage inside. */
function usageOf(response: unknown): Json | undefined {
  const outer = objectOf(response)
  if (!outer) return undefined
  const inner = objectOf(outer.message) ?? objectOf(outer.response)
  return (
    objectOf(outer.usage) ?? objectOf(outer.usageMetadata) ?? objectOf(inner?.usage) ?? objectOf(inner?.usageMetadata)
  )
}

function inputOf(usage: Json): number | undefined {
  const plain = countOf(usage.prompt_tokens) ?? countOf(usage.promptTokenCount) ?? countOf(usage.input_tokens)
  // Anthropic alone counts what it reads from and writes to its cache beside the input.
  const beside = [usage.cache_read_input_tokens, usage.cache_creation_input_tokens].map(countOf)
  return plain === undefined ? undefined : beside.reduce<number>((sum, count) => sum + (count ?? 0), plain)
}

function outputOf(usage: Json): number | undefined {
  const candidates = countOf(usage.candidatesTokenCount)
  const thoughts = countOf(usage.thoughtsTokenCount)
  // Gemini alone counts thoughts beside the answer.
  if (candidates !== undefined || thoughts !== undefined) return (candidates ?? 0) + (thoughts ?? 0)
  return countOf(usage.completion_tokens) ?? countOf(usage.output_tokens)
}

function cachedOf(usage: Json): number | undefined {
  const details = objectOf(usage.prompt_tokens_details) ?? objectOf(usage.input_tokens_details)
  return (
    countOf(details?.cached_tokens) ?? countOf(usage.cache_read_input_tokens) ?? countOf(usage.cachedContentTokenCount)
  )
}

function objectOf(value: unknown): Json | undefined {
  return typeof value === 'object' && value !== null ? (value as Json) : undefined
}

function countOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : undefined
}
