import { once } from 'node:events'
import { createServer } from 'node:http'

export type Calculation = { key: string; params: URLSearchParams }
/** Its status and what it says; in Stripe's shapes: https://docs.stripe.com/api/tax/calculations. */
export type Answer = { status: number; body: object }

/** A server that speaks as much of Stripe's API as a calculation of tax needs, on a port of its own. */
export async function startStripe(answer: (asked: Calculation) => Answer | Promise<Answer>) {
  const asked: Calculation[] = []
  const server = createServer(async (request, response) => {
    let text = ''
    for await (const chunk of request) text += chunk
    const calculation = { key: String(request.headers['idempotency-key']), params: new URLSearchParams(text) }
    const isKnown = request.url === '/v1/tax/calculations' && request.headers.authorization === 'Bearer sk_test_1'
    if (isKnown) asked.push(calculation)
    const { status, body } = isKnown ? await answer(calculation) : { status: 404, body: {} }
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    url: `http://127.0.0.1:${address.port}`,
    asked,
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

/** One tax on all of an amount, in percent. */
export function calculationOf(percentage: number, { params }: Calculation, change: object = {}): Answer {
  const amount = Number(params.get('line_items[0][amount]'))
  const inclusive = params.get('line_items[0][tax_behavior]') === 'inclusive'
  const tax = Math.round(inclusive ? (amount * percentage) / (100 + percentage) : (amount * percentage) / 100)
  const country = params.get('customer_details[address][country]')
  const details = { country, percentage_decimal: String(percentage), state: null, tax_type: 'vat' }
  const breakdown = {
    ...{ amount: tax, inclusive, tax_rate_details: details, taxability_reason: 'standard_rated' },
    ...{ taxable_amount: inclusive ? amount - tax : amount, ...change },
  }
  const body = {
    object: 'tax.calculation',
    tax_amount_exclusive: inclusive ? 0 : breakdown.amount,
    tax_amount_inclusive: inclusive ? breakdown.amount : 0,
    tax_breakdown: [breakdown],
  }
  return { status: 200, body }
}
