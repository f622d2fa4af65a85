-- Legal entities that issue invoices, tax rates of a tenant's own, and tax on the lines of invoices.
-- Breaking: replace all invoicer processes, then create legal entities: one of before issues untaxed, under the tenant's
-- own numbers. A tenant without a legal entity is billed as before: without tax, under its one series of numbers.

-- Written by: invoicer. Read by: invoicer. Who issues a tenant's invoices: where it is registered for tax, how it taxes, and
-- its own gapless numbers; last_number is raised by the last statement of the transaction that finalises. The default one,
-- the first that was made, issues for every customer that names none.
CREATE TABLE legal_entities (
  tenant_id integer NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  key text NOT NULL CHECK (length(key) BETWEEN 1 AND 256),
  name text NOT NULL,
  country text NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
  address jsonb,
  default_currency char(3) CHECK (default_currency ~ '^[A-Z]{3}$'),
  number_prefix text NOT NULL CHECK (number_prefix ~ '^[A-Z0-9][A-Z0-9-]{0,15}$' AND number_prefix <> 'INV'
    AND number_prefix !~ '^CN(-|$)'),
  last_number bigint NOT NULL DEFAULT 0 CHECK (last_number >= 0),
  -- [{"country", "number"}]
  tax_registrations jsonb NOT NULL,
  tax_enabled boolean NOT NULL,
  tax_rounding text NOT NULL CHECK (tax_rounding IN ('per_line', 'per_invoice')),
  tax_inclusive boolean NOT NULL,
  eu_consumers text NOT NULL CHECK (eu_consumers IN ('destination', 'origin')),
  is_default boolean NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, key),
  UNIQUE (tenant_id, number_prefix)
);
CREATE UNIQUE INDEX legal_entities_default ON legal_entities (tenant_id) WHERE is_default;

-- Written by: invoicer. Read by: invoicer. Append-only: rates that win over those of the open data, from a day on. A rate
-- on an invoice never changes, because it stands on its lines. Days are those of the country: laws name days, not instants.
CREATE TABLE tax_rates (
  tenant_id integer NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  country text NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
  kind text NOT NULL CHECK (kind ~ '^[a-z]{2,12}$'),
  rate_percent numeric(9, 6) NOT NULL CHECK (rate_percent BETWEEN 0 AND 100),
  effective_from date NOT NULL,
  effective_until date CHECK (effective_until > effective_from),
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, country, effective_from)
);

ALTER TABLE customers
  ADD COLUMN kind text NOT NULL DEFAULT 'business' CHECK (kind IN ('business', 'consumer')),
  -- {"line1", "line2", "city", "region", "postalCode", "country"}
  ADD COLUMN billing_address jsonb,
  -- [{"type", "value"}]
  ADD COLUMN tax_ids jsonb NOT NULL DEFAULT '[]',
  -- {"reason", "certificate"}
  ADD COLUMN tax_exemption jsonb,
  ADD COLUMN legal_entity_id uuid,
  ADD FOREIGN KEY (tenant_id, legal_entity_id) REFERENCES legal_entities;

-- All null: the line was not taxed at all. Inclusive: the tax is inside amount_minor, otherwise it comes on top.
ALTER TABLE invoice_lines
  ADD COLUMN tax_minor bigint,
  ADD COLUMN tax_rate_percent numeric(9, 6),
  ADD COLUMN tax_code text,
  ADD COLUMN tax_reason text,
  ADD COLUMN tax_certificate text,
  ADD COLUMN tax_inclusive boolean,
  ADD CHECK (num_nulls(tax_minor, tax_rate_percent, tax_code, tax_reason, tax_inclusive) IN (0, 5));

-- Null: the tenant's own series.
ALTER TABLE invoices
  ADD COLUMN legal_entity_id uuid,
  ADD FOREIGN KEY (tenant_id, legal_entity_id) REFERENCES legal_entities;
DROP INDEX invoices_number;
CREATE UNIQUE INDEX invoices_number ON invoices (tenant_id, number, legal_entity_id) NULLS NOT DISTINCT
  WHERE number IS NOT NULL;
-- Those of a subscription, whatever they bill: later on its unique keys leave out some.
CREATE INDEX invoices_subscription ON invoices (tenant_id, subscription_id, id);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['legal_entities', 'tax_rates'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_rows ON %I TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())', name);
  END LOOP;
END $$;
GRANT SELECT, INSERT ON legal_entities, tax_rates TO tallyline_app;
GRANT UPDATE (name, address, tax_registrations, tax_enabled, tax_rounding, tax_inclusive, eu_consumers, last_number)
  ON legal_entities TO tallyline_app;
GRANT UPDATE (kind, billing_address, tax_ids, tax_exemption, legal_entity_id) ON customers TO tallyline_app;
