-- Invoices without a subscription: of credit that was bought, and of one-time items that do not wait for a period. Tax by
-- class and region. Written by: invoicer. Read by: invoicer.
-- Breaking: replace all invoicer processes first: one of before answers 500 where it meets an invoice without a subscription,
-- and taxes what has a class by the rate of its country.

-- Null: it belongs to no subscription, quotes no plan of its own, and no run made it. Whoever has a subscription has a plan.
ALTER TABLE invoices
  ALTER COLUMN subscription_id DROP NOT NULL,
  ALTER COLUMN plan_id DROP NOT NULL,
  ALTER COLUMN billing_run_id DROP NOT NULL,
  ADD CONSTRAINT invoices_plan_of_subscription CHECK (subscription_id IS NULL OR plan_id IS NOT NULL);

-- What a purchase was invoiced with: issued when it is paid, in the transaction that gives the credit. Null of one that is
-- not paid, and of those from before.
ALTER TABLE credit_purchases
  ADD COLUMN invoice_id uuid,
  -- Of one that somebody asked for; null: by a rule.
  ADD COLUMN external_key text CHECK (length(external_key) BETWEEN 1 AND 256),
  ADD CONSTRAINT credit_purchases_invoice FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoices
    DEFERRABLE INITIALLY DEFERRED,
  ADD CONSTRAINT credit_purchases_invoiced CHECK (invoice_id IS NULL OR state = 'paid');
CREATE UNIQUE INDEX credit_purchases_invoiced_once ON credit_purchases (tenant_id, invoice_id) WHERE invoice_id IS NOT NULL;
CREATE UNIQUE INDEX credit_purchases_key ON credit_purchases (tenant_id, customer_id, external_key)
  WHERE external_key IS NOT NULL;
GRANT UPDATE (invoice_id) ON credit_purchases TO tallyline_app;

-- What a credit note on a purchase takes back of the credit that was left: sold = drawn + expired + refunded + remaining.
ALTER TABLE credit_uses
  ADD COLUMN credit_note_id uuid,
  DROP CONSTRAINT credit_uses_kind_check,
  ADD CONSTRAINT credit_uses_kind_check CHECK (kind IN ('drawn', 'expired', 'rolled', 'returned', 'refunded')),
  ADD CONSTRAINT credit_uses_credit_note FOREIGN KEY (tenant_id, credit_note_id) REFERENCES credit_notes
    DEFERRABLE INITIALLY DEFERRED,
  ADD CONSTRAINT credit_uses_refunded CHECK ((kind = 'refunded') = (credit_note_id IS NOT NULL));
CREATE UNIQUE INDEX credit_uses_credit_note_once ON credit_uses (tenant_id, credit_note_id)
  WHERE credit_note_id IS NOT NULL;

-- What no run issued and nobody has paid yet: a loop charges it, if its caller does not come back.
CREATE INDEX invoices_beside_unpaid ON invoices (tenant_id, id) WHERE billing_run_id IS NULL AND state = 'finalised';
CREATE FUNCTION tenants_with_unpaid_beside(issued_until timestamptz) RETURNS TABLE (tenant_id integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public
AS $$
  SELECT DISTINCT i.tenant_id FROM invoices i
  WHERE i.billing_run_id IS NULL AND i.state = 'finalised' AND i.finalised_at <= issued_until AND NOT EXISTS (
    SELECT FROM payments p WHERE p.tenant_id = i.tenant_id AND p.invoice_id = i.id AND p.state = 'declined')
$$;

-- Append-only: invoices that somebody asked for beside all periods, by the idempotency key of the caller. The request says of
-- which customer, who need not be the one who pays.
CREATE TABLE one_off_invoices (
  tenant_id integer NOT NULL,
  idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 256),
  request jsonb NOT NULL,
  invoice_id uuid NOT NULL,
  PRIMARY KEY (tenant_id, idempotency_key),
  UNIQUE (tenant_id, invoice_id),
  FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoices DEFERRABLE INITIALLY DEFERRED
);
ALTER TABLE one_off_invoices ENABLE ROW LEVEL SECURITY;
ALTER TABLE one_off_invoices FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_rows ON one_off_invoices TO tallyline_app
  USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant());
GRANT SELECT, INSERT ON one_off_invoices TO tallyline_app;

-- What is sold, as a tenant names it: 'saas', 'training'. Null: anything. Which rate a line has says its tax code.
ALTER TABLE plan_charges ADD COLUMN tax_class text CHECK (tax_class ~ '^[a-z0-9][a-z0-9_-]{0,63}$');
ALTER TABLE invoice_items ADD COLUMN tax_class text CHECK (tax_class ~ '^[a-z0-9][a-z0-9_-]{0,63}$');
-- Rates of a region (ISO 3166-2), of a class, or of both. Of those in force the most specific wins: region and class, region,
-- country and class, country.
ALTER TABLE tax_rates
  ADD COLUMN region text CHECK (region ~ '^[A-Z]{2}-[A-Z0-9]{1,3}$' AND left(region, 2) = country),
  ADD COLUMN tax_class text CHECK (tax_class ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
  DROP CONSTRAINT tax_rates_tenant_id_country_effective_from_key,
  ADD CONSTRAINT tax_rates_place_and_day UNIQUE NULLS NOT DISTINCT (tenant_id, country, region, tax_class, effective_from);
-- {"saas": "txcd_10103000"}: what Stripe calls the classes.
ALTER TABLE legal_entities ADD COLUMN tax_codes jsonb NOT NULL DEFAULT '{}';
GRANT UPDATE (tax_codes) ON legal_entities TO tallyline_app;
