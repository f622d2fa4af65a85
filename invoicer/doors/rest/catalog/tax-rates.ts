import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { QuantityText } from '../../../../schemas/quantity.ts'
import { TAX_CLASS } from '../../../agreements/plans/tax-class.ts'
import { createTaxRate } from '../../../billing/tax/create-tax-rate.ts'
import { REGION } from '../../../billing/tax/tax-place.ts'
import { listTaxRates, type TaxRate } from '../../../billing/tax/tax-rates.postgres.ts'
import { CountryText } from '../customers/billing-details.ts'
import {
  type DoorDeps,
  Id,
  Instant,
  instantText,
  listOf,
  Nullable,
  nextOf,
  pageMembers,
  pageOf,
  strict,
} from '../shapes.ts'

const given = { country: 'GR', rate_percent: '24', effective_from: '2016-06-01' }
const example = {
  ...given,
  id: '01890a5d-ac96-774b-bcce-b302099a8051',
  region: null,
  tax_class: null,
  kind: 'vat',
  effective_until: null,
  created_at: '2023-12-01T00:00:00.000Z',
}

const Day = Type.String({
  format: 'date',
  pattern: '^[12]',
  description: 'A day, where the tax is due.',
  examples: ['2016-06-01'],
})

const NewRate = Type.Object(
  {
    country: CountryText,
    region: Type.Optional(
      Nullable(
        Type.String({ pattern: REGION, description: 'A code of ISO 3166-2, as CA-QC; default: all of the country.' }),
      ),
    ),
    tax_class: Type.Optional(
      Nullable(
        Type.String({
          pattern: TAX_CLASS,
          description: 'Of what is sold, as charges and items name it; default: anything.',
        }),
      ),
    ),
    kind: Type.Optional(
      Type.String({ pattern: '^[a-z]{2,12}$', description: 'The kind of the tax, as vat or gst; by default vat.' }),
    ),
    rate_percent: Type.String({ ...QuantityText, description: 'As "24" for 24 %.', examples: ['24'] }),
    effective_from: Day,
    effective_until: Type.Optional(Nullable(Day)),
  },
  { ...strict, examples: [given] },
)
const RateAnswer = Type.Object(
  {
    id: Id,
    country: Type.String(),
    region: Nullable(Type.String()),
    tax_class: Nullable(Type.String()),
    kind: Type.String(),
    rate_percent: QuantityText,
    effective_from: Day,
    effective_until: Nullable(Day),
    created_at: Instant,
  },
  { examples: [example] },
)

/** Rates of the tenant's own. */
export function taxRatesDoor(app: App, deps: DoorDeps): void {
  const tags = ['legal-entities']
  app.post(
    '/api/v1/tax-rates',
    {
      config: { permission: 'billing:tax-rates:create' },
      schema: {
        tags,
        summary: 'Add a tax rate, which wins over the built-in one; the same again answers the stored one',
        description:
          'Of those in force the most specific wins: of region and class, of the region, of country and class, of the country.',
        body: NewRate,
        response: { 200: RateAnswer, 201: RateAnswer },
      },
    },
    async ({ caller, body }, reply) => {
      const input = {
        country: body.country,
        region: body.region ?? null,
        taxClass: body.tax_class ?? null,
        kind: body.kind ?? 'vat',
        ratePercent: body.rate_percent,
        from: body.effective_from,
        until: body.effective_until ?? null,
      }
      const { rate, created } = await deps.transact(caller.tenantId, (tx) => createTaxRate(tx, input, deps))
      return reply.code(created ? 201 : 200).send(answer(rate))
    },
  )
  app.get(
    '/api/v1/tax-rates',
    {
      config: { permission: 'billing:tax-rates:read' },
      schema: {
        tags,
        summary: 'List tax rates of your own',
        querystring: Type.Object({ country: Type.Optional(CountryText), ...pageMembers }, strict),
        response: { 200: listOf('tax_rates', RateAnswer, example) },
      },
    },
    async ({ caller, query }) => {
      const page = pageOf(query)
      const rates = await deps.transact(caller.tenantId, (tx) => listTaxRates(tx, query.country ?? null, page))
      return { tax_rates: rates.map(answer), next: nextOf(rates, page) }
    },
  )
}

function answer(rate: TaxRate): Static<typeof RateAnswer> {
  return {
    id: rate.id,
    country: rate.country,
    region: rate.region,
    tax_class: rate.taxClass,
    kind: rate.kind,
    rate_percent: rate.ratePercent,
    effective_from: rate.from,
    effective_until: rate.until,
    created_at: instantText(rate.createdAtMs),
  }
}
