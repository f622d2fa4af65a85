/** How an issuer of invoices looks. What is not given is null. */
export type Branding = {
  name: string | null
  addressLines: string[]
  logoUrl: string | null
  /** As #rrggbb. */
  primaryColour: string | null
  accentColour: string | null
}

/** What invoices show beside amounts; none of it decides any. */
export type InvoiceTexts = {
  /** By name, such as a purchase order number. */
  customFields: Readonly<Record<string, string>>
  memo: string | null
  footer: string | null
  branding: Branding | null
}

export const NO_TEXTS: InvoiceTexts = { customFields: {}, memo: null, footer: null, branding: null }

/** How many custom fields an invoice may come to. */
export const MOST_FIELDS = 20

/**
 * The texts of an invoice: from the widest owner to the nearest, tenant, legal entity, customer, subscription. The nearest
 * one that says something is heard, of custom fields name by name; branding is taken whole. Fields beyond the most that an
 * invoice may have are left out, those of the nearest last.
 */
export function mergedTexts(fromWidest: readonly InvoiceTexts[]): InvoiceTexts {
  const fields = new Map<string, string>()
  for (const { customFields } of [...fromWidest].reverse()) {
    for (const [name, value] of Object.entries(customFields)) {
      if (fields.size < MOST_FIELDS && !fields.has(name)) fields.set(name, value)
    }
  }
  const nearest = <T>(of: (texts: InvoiceTexts) => T | null): T | null => {
    const found = fromWidest.findLast((texts) => of(texts) !== null)
    return found === undefined ? null : of(found)
  }
  return {
    customFields: Object.fromEntries([...fields].sort(([a], [b]) => (a < b ? -1 : 1))),
    memo: nearest(({ memo }) => memo),
    footer: nearest(({ footer }) => footer),
    branding: nearest(({ branding }) => branding),
  }
}

export function isEmpty({ customFields, memo, footer, branding }: InvoiceTexts): boolean {
  return Object.keys(customFields).length === 0 && memo === null && footer === null && branding === null
}
