-- Usage that comes late, one-time items, credit notes and balances of customers. Written by: invoicer. Read by: invoicer.
-- Breaking: stop all invoicer processes of before first. Beside new ones, whose runs issue credit notes for late usage, they
-- charge the amount due without what those settled, apply no balance, and do not look for late usage.

-- An invoice of its own for what waits for a subscription that has no further period: it takes no period's place.
ALTER TABLE invoices ADD COLUMN off_cycle boolean NOT NULL DEFAULT false;
ALTER TABLE invoices DROP CONSTRAINT invoices_tenant_id_subscription_id_period_start_key;
ALTER TABLE invoices DROP CONSTRAINT invoices_tenant_id_subscription_id_period_end_key;
CREATE UNIQUE INDEX invoices_tenant_id_subscription_id_period_start_key
  ON invoices (tenant_id, subscription_id, period_start) WHERE NOT off_cycle;
CREATE UNIQUE INDEX invoices_tenant_id_subscription_id_period_end_key
  ON invoices (tenant_id, subscription_id, period_end) WHERE NOT off_cycle;

-- What the customer's balance paid of the total; below 0 what a negative total gave to it. `credited_minor` is the sum of
-- the credit notes on the invoice, and `settled_minor` what they took off what was due: amount due − settled is still to
-- be paid. The two alone grow behind the issuing.
ALTER TABLE invoices
  ADD COLUMN balance_minor bigint NOT NULL DEFAULT 0,
  ADD COLUMN credited_minor bigint NOT NULL DEFAULT 0,
  ADD COLUMN settled_minor bigint NOT NULL DEFAULT 0;
DO $$
DECLARE name text;
BEGIN
  SELECT conname INTO STRICT name FROM pg_constraint
  WHERE conrelid = 'invoices'::regclass AND contype = 'c'
    AND pg_get_constraintdef(oid) LIKE '%(total_minor - credit_minor) = amount_due_minor%';
  EXECUTE format('ALTER TABLE invoices DROP CONSTRAINT %I', name);
END $$;
ALTER TABLE invoices
  ADD CONSTRAINT invoices_amount_due CHECK (total_minor - credit_minor - balance_minor = amount_due_minor),
  ADD CONSTRAINT invoices_credited CHECK (credited_minor BETWEEN 0 AND greatest(total_minor, 0)),
  ADD CONSTRAINT invoices_settled CHECK (settled_minor BETWEEN 0 AND least(credited_minor, amount_due_minor));
GRANT UPDATE (credited_minor, settled_minor) ON invoices TO tallyline_app;

-- Which runs to ask about usage that became known behind them.
CREATE INDEX billing_runs_known ON billing_runs (tenant_id, known_before);
-- When the run had billed what came late; null before, and of runners of before. Looking begins with the last run from
-- before this: none looks at all of history.
ALTER TABLE billing_runs ADD COLUMN looked_at timestamptz;
-- Of all tenants: this migration alone may see the rows of all.
ALTER TABLE billing_runs NO FORCE ROW LEVEL SECURITY;
UPDATE billing_runs SET looked_at = completed_at WHERE state = 'completed';
ALTER TABLE billing_runs FORCE ROW LEVEL SECURITY;
GRANT UPDATE (looked_at) ON billing_runs TO tallyline_app;

-- Whose late usage between two times could not be billed, as of the W of the run that found that. Each run looks again until
-- it is.
CREATE TABLE late_usage_left (
  tenant_id integer NOT NULL,
  subject text NOT NULL,
  first_at timestamptz NOT NULL,
  last_at timestamptz NOT NULL CHECK (last_at >= first_at),
  known_before timestamptz NOT NULL,
  is_billed boolean NOT NULL,
  PRIMARY KEY (tenant_id, subject)
);

-- Append-only: what a billed charge of a period was brought to, as known before a run's W. Billed so far is what its
-- lines say and all of these together; below 0 it was given back. A run brings a charge there once.
CREATE TABLE usage_adjustments (
  tenant_id integer NOT NULL,
  id uuid NOT NULL,
  subscription_id uuid NOT NULL,
  plan_id uuid NOT NULL,
  charge_key text NOT NULL,
  meter text NOT NULL,
  period_start timestamptz NOT NULL,
  period_end timestamptz NOT NULL CHECK (period_end > period_start),
  amount_minor bigint NOT NULL CHECK (amount_minor <> 0),
  currency char(3) NOT NULL,
  quantity numeric(38, 12) NOT NULL,
  event_count bigint NOT NULL CHECK (event_count >= 0),
  digest numeric(39, 0) NOT NULL CHECK (digest >= 0),
  seal_id uuid NOT NULL,
  known_before timestamptz NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, subscription_id, charge_key, period_start, seal_id),
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions,
  FOREIGN KEY (tenant_id, plan_id) REFERENCES plans,
  FOREIGN KEY (tenant_id, seal_id) REFERENCES seals
);

-- Whether a run that is not completed brought anything anywhere.
CREATE INDEX usage_adjustments_seal ON usage_adjustments (tenant_id, seal_id);

-- What waits for the next invoice of a subscription, or of any of its customer's when none is named. It is pending until
-- an invoice has it, and may be taken back till then; the invoice's line says the same.
CREATE TABLE invoice_items (
  tenant_id integer NOT NULL,
  id uuid NOT NULL,
  kind text NOT NULL CHECK (kind IN ('one_time', 'adjustment')),
  external_key text CHECK (length(external_key) BETWEEN 1 AND 256),
  customer_id uuid NOT NULL,
  subscription_id uuid,
  adjustment_id uuid,
  charge_key text NOT NULL,
  description text NOT NULL CHECK (length(description) BETWEEN 1 AND 1024),
  amount_minor bigint NOT NULL CHECK (amount_minor <> 0),
  currency char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  quantity numeric(38, 12),
  unit_amount numeric(38, 12),
  plan_id uuid,
  meter text,
  period_start timestamptz,
  period_end timestamptz CHECK (period_end > period_start),
  breakdown jsonb NOT NULL,
  -- Of an adjustment: the terms by which the lines it corrects were taxed; null where they were not.
  tax jsonb,
  created_at timestamptz NOT NULL,
  invoice_id uuid,
  line_index smallint,
  deleted_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, external_key),
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers,
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions,
  FOREIGN KEY (tenant_id, adjustment_id) REFERENCES usage_adjustments,
  FOREIGN KEY (tenant_id, invoice_id, line_index) REFERENCES invoice_lines DEFERRABLE INITIALLY DEFERRED,
  CHECK ((kind = 'adjustment') = (adjustment_id IS NOT NULL)),
  CHECK ((kind = 'one_time') = (external_key IS NOT NULL)),
  CHECK ((quantity IS NULL) = (unit_amount IS NULL)),
  CHECK (kind = 'one_time'
    OR (subscription_id IS NOT NULL AND plan_id IS NOT NULL AND period_start IS NOT NULL AND period_end IS NOT NULL)),
  CHECK ((invoice_id IS NULL) = (line_index IS NULL)),
  CHECK (deleted_at IS NULL OR (invoice_id IS NULL AND kind = 'one_time'))
);
CREATE INDEX invoice_items_pending ON invoice_items (tenant_id, customer_id, id)
  WHERE invoice_id IS NULL AND deleted_at IS NULL;
CREATE INDEX invoice_items_charge ON invoice_items (tenant_id, subscription_id, charge_key, period_start)
  WHERE kind = 'adjustment';

-- The last number given, as of invoices by each legal entity, null the tenant's own series: raised by the last statement
-- that makes a note.
CREATE TABLE credit_note_numbers (
  tenant_id integer NOT NULL REFERENCES tenants,
  legal_entity_id uuid,
  last_number bigint NOT NULL CHECK (last_number >= 0),
  UNIQUE NULLS NOT DISTINCT (tenant_id, legal_entity_id),
  FOREIGN KEY (tenant_id, legal_entity_id) REFERENCES legal_entities
);

-- Append-only. Of the total, `settled_minor` was taken off what the invoice had due, the rest went to the balance.
CREATE TABLE credit_notes (
  tenant_id integer NOT NULL,
  id uuid NOT NULL,
  number bigint NOT NULL CHECK (number >= 1),
  -- That of the invoice.
  legal_entity_id uuid,
  invoice_id uuid NOT NULL,
  customer_id uuid NOT NULL,
  currency char(3) NOT NULL,
  idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 256),
  request jsonb NOT NULL,
  reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1024),
  subtotal_minor bigint NOT NULL,
  tax_minor bigint NOT NULL,
  total_minor bigint NOT NULL CHECK (total_minor > 0),
  settled_minor bigint NOT NULL CHECK (settled_minor >= 0),
  balance_minor bigint NOT NULL CHECK (balance_minor >= 0),
  issued_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE NULLS NOT DISTINCT (tenant_id, legal_entity_id, number),
  FOREIGN KEY (tenant_id, legal_entity_id) REFERENCES legal_entities,
  UNIQUE (tenant_id, invoice_id, idempotency_key),
  FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoices,
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers,
  CHECK (subtotal_minor + tax_minor = total_minor),
  CHECK (settled_minor + balance_minor = total_minor)
);

-- Append-only: what a note takes back of which line. A line is never credited beyond its amount.
CREATE TABLE credit_note_lines (
  tenant_id integer NOT NULL,
  credit_note_id uuid NOT NULL,
  invoice_id uuid NOT NULL,
  line_index smallint NOT NULL,
  amount_minor bigint NOT NULL,
  tax_minor bigint NOT NULL,
  PRIMARY KEY (tenant_id, credit_note_id, line_index),
  -- A note comes after its lines, because drawing its number is the last statement of what makes it.
  FOREIGN KEY (tenant_id, credit_note_id) REFERENCES credit_notes DEFERRABLE INITIALLY DEFERRED,
  FOREIGN KEY (tenant_id, invoice_id, line_index) REFERENCES invoice_lines
);
CREATE INDEX credit_note_lines_invoice ON credit_note_lines (tenant_id, invoice_id, line_index);

-- What a customer has to its credit, never below 0: the sum of its entries. Its row is locked by whoever changes it.
CREATE TABLE customer_balances (
  tenant_id integer NOT NULL,
  customer_id uuid NOT NULL,
  currency char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  balance_minor bigint NOT NULL CHECK (balance_minor >= 0),
  PRIMARY KEY (tenant_id, customer_id, currency),
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers
);

-- Append-only. `applied` takes off an invoice, the others give: a negative total, a credit note beyond what was due, and
-- what of a negative difference no invoice could give back.
CREATE TABLE balance_entries (
  tenant_id integer NOT NULL,
  id uuid NOT NULL,
  customer_id uuid NOT NULL,
  currency char(3) NOT NULL,
  kind text NOT NULL CHECK (kind IN ('applied', 'negative_invoice', 'credit_note', 'adjustment')),
  amount_minor bigint NOT NULL CHECK ((kind = 'applied') = (amount_minor < 0) AND amount_minor <> 0),
  balance_minor bigint NOT NULL CHECK (balance_minor >= 0),
  invoice_id uuid,
  credit_note_id uuid,
  adjustment_id uuid,
  at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, customer_id, currency) REFERENCES customer_balances,
  FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoices DEFERRABLE INITIALLY DEFERRED,
  FOREIGN KEY (tenant_id, credit_note_id) REFERENCES credit_notes DEFERRABLE INITIALLY DEFERRED,
  FOREIGN KEY (tenant_id, adjustment_id) REFERENCES usage_adjustments,
  CHECK ((kind IN ('applied', 'negative_invoice')) = (invoice_id IS NOT NULL)),
  CHECK ((kind = 'credit_note') = (credit_note_id IS NOT NULL)),
  CHECK ((kind = 'adjustment') = (adjustment_id IS NOT NULL))
);
CREATE INDEX balance_entries_customer ON balance_entries (tenant_id, customer_id, id);
-- An invoice takes from the balance once, or gives to it once.
CREATE UNIQUE INDEX balance_entries_invoice ON balance_entries (tenant_id, invoice_id) WHERE invoice_id IS NOT NULL;

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['late_usage_left', 'usage_adjustments', 'invoice_items', 'credit_note_numbers', 'credit_notes',
    'credit_note_lines', 'customer_balances', 'balance_entries'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_rows ON %I TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())', name);
  END LOOP;
END $$;
GRANT SELECT, INSERT ON usage_adjustments, invoice_items, credit_note_numbers, credit_notes, credit_note_lines,
  customer_balances, balance_entries TO tallyline_app;
GRANT SELECT, INSERT, UPDATE (first_at, last_at, known_before, is_billed) ON late_usage_left TO tallyline_app;
GRANT UPDATE (invoice_id, line_index, deleted_at) ON invoice_items TO tallyline_app;
GRANT UPDATE (last_number) ON credit_note_numbers TO tallyline_app;
GRANT UPDATE (balance_minor) ON customer_balances TO tallyline_app;
