-- Progressive invoices inside a period, and drafts of subscriptions. Written by: invoicer. Read by: invoicer. Breaking: stop
-- all invoicer processes of before before a threshold is set: they would bill a period once more than what progressive
-- invoices billed of it.

-- From which difference on, in minor units of its plan's currency, the running period of a subscription has an invoice.
CREATE TABLE progressive_billing (
  tenant_id integer NOT NULL,
  subscription_id uuid NOT NULL,
  threshold_minor bigint NOT NULL CHECK (threshold_minor > 0),
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, subscription_id),
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions
);

-- Append-only: which invoices billed a period so far, and of which period. The latest one that is not void says what its
-- charges were brought to: the next one has them as they are then, less that. `revision`: that of the subscription, whose
-- phases say what was billed. Their rows of billed_usage carry void_invoice_id from the start: none of them is what the
-- period was billed with, which is its own invoice alone, and they explain their own lines for ever.
CREATE TABLE progressive_invoices (
  tenant_id integer NOT NULL,
  invoice_id uuid NOT NULL,
  subscription_id uuid NOT NULL,
  period_start timestamptz NOT NULL,
  ordinal integer NOT NULL CHECK (ordinal >= 1),
  revision integer NOT NULL CHECK (revision >= 0),
  PRIMARY KEY (tenant_id, invoice_id),
  UNIQUE (tenant_id, subscription_id, period_start, ordinal),
  -- An invoice comes last, because drawing its number is the last statement of what makes it.
  FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoices DEFERRABLE INITIALLY DEFERRED,
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions
);

-- A review of a run drafts progressive invoices as well.
ALTER TABLE billing_runs DROP CONSTRAINT billing_runs_review_part_check;
ALTER TABLE billing_runs ADD CONSTRAINT billing_runs_review_part_check
  CHECK (review_part IN ('again', 'waiting', 'late', 'due', 'progressive', 'missing', 'done'));

-- What is to be agreed, and is not yet: nothing of it is served, billed or counted. Activated, it is a subscription with
-- the id of its draft; discarded, it never was one, and its key is free. `content` is what was asked for.
CREATE TABLE subscription_drafts (
  tenant_id integer NOT NULL,
  id uuid NOT NULL,
  external_key text NOT NULL CHECK (length(external_key) BETWEEN 1 AND 256),
  customer_id uuid NOT NULL,
  content jsonb NOT NULL,
  state text NOT NULL CHECK (state IN ('draft', 'activated', 'discarded')),
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers
);
CREATE UNIQUE INDEX subscription_drafts_living_key ON subscription_drafts (tenant_id, external_key)
  WHERE state <> 'discarded';
-- Those that are discarded are found by their key as well.
CREATE INDEX subscription_drafts_key ON subscription_drafts (tenant_id, external_key, id);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['progressive_billing', 'progressive_invoices', 'subscription_drafts'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_rows ON %I TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())', name);
  END LOOP;
END $$;
GRANT SELECT, INSERT ON progressive_billing, progressive_invoices, subscription_drafts TO tallyline_app;
GRANT UPDATE (threshold_minor, updated_at), DELETE ON progressive_billing TO tallyline_app;
GRANT UPDATE (content, state) ON subscription_drafts TO tallyline_app;
