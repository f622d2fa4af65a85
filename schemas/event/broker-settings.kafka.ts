/** How clients of the brokers connect and ask again; whoever asks has a time of its own, and gives up earlier. */
export function brokerSettings(brokers: string[]) {
  return {
    clientId: 'tallyline',
    bootstrapBrokers: brokers,
    connectTimeout: 3_000,
    // Of any one request, and more than anybody waits for one: the client of a request that is late is left before. An
    // answer after the time-out would break the framing of its connection, and the client with it.
    requestTimeout: 30_000,
    retries: 20,
    retryDelay: (_client: unknown, _operation: string, attempt: number) =>
      Math.min(RETRY_FIRST_MS * 2 ** (attempt - 1), RETRY_MAX_MS),
  }
}
const RETRY_FIRST_MS = 50
const RETRY_MAX_MS = 1_000
