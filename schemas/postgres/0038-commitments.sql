-- What periods draw of a commitment that several of them have together. Written by: invoicer. Read by: invoicer. Breaking: an
-- invoicer from before bills such a commitment in no period; replace all of them before a plan has one.

-- Append-only: what a charge of a period was brought to, first by its invoice, then by usage that came late, in the order of
-- `ordinal`: the latest row of a period holds. A row without an invoice or an adjustment changed what was drawn, and no
-- amount. `is_void`: that invoice is void, and the period draws nothing.
CREATE TABLE commitment_draws (
  tenant_id integer NOT NULL,
  subscription_id uuid NOT NULL,
  ordinal integer NOT NULL CHECK (ordinal >= 1),
  plan_id uuid NOT NULL,
  charge_key text NOT NULL,
  window_start timestamptz NOT NULL,
  window_end timestamptz NOT NULL,
  period_start timestamptz NOT NULL,
  period_end timestamptz NOT NULL,
  -- By the price of the charge, and billed: overage and true-up included, before coupons.
  base_minor bigint NOT NULL,
  amount_minor bigint NOT NULL,
  -- What other periods of the window have to give back because of it.
  rest_minor bigint NOT NULL CHECK (rest_minor <= 0),
  committed_minor bigint NOT NULL CHECK (committed_minor >= 0),
  served_until timestamptz NOT NULL,
  -- Of the subscription as it was rated, and what was known then.
  revision integer NOT NULL CHECK (revision >= 0),
  known_before timestamptz NOT NULL,
  invoice_id uuid,
  adjustment_id uuid,
  is_void boolean NOT NULL,
  PRIMARY KEY (tenant_id, subscription_id, ordinal),
  -- An invoice comes last, because drawing its number is the last statement of what makes it.
  FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoices DEFERRABLE INITIALLY DEFERRED,
  FOREIGN KEY (tenant_id, adjustment_id) REFERENCES usage_adjustments DEFERRABLE INITIALLY DEFERRED,
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions,
  FOREIGN KEY (tenant_id, plan_id) REFERENCES plans,
  CHECK (period_start < period_end AND window_start < window_end),
  CHECK (invoice_id IS NULL OR adjustment_id IS NULL),
  CHECK (NOT is_void OR (invoice_id IS NOT NULL AND base_minor = 0 AND amount_minor = 0 AND rest_minor = 0))
);
CREATE INDEX commitment_draws_invoice ON commitment_draws (tenant_id, invoice_id) WHERE invoice_id IS NOT NULL;

ALTER TABLE commitment_draws ENABLE ROW LEVEL SECURITY;
ALTER TABLE commitment_draws FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_rows ON commitment_draws TO tallyline_app
  USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant());
GRANT SELECT, INSERT ON commitment_draws TO tallyline_app;
