-- Invoices are voided, issued again and written off; small amounts are carried forward, zero invoices may be suppressed,
-- and invoices show texts of their own. Written by: invoicer. Read by: invoicer, and billed_usage by the aggregator.
-- Breaking: stop all invoicer and aggregator processes of before first: they count what void invoices billed as billed, and
-- charge what was carried forward twice or never.

-- Whoever voids sets both. In indexes stands the date alone: an update of a column that an index looks at writes all of
-- a row's indexes anew, and each invoice's state is updated when it is paid.
ALTER TABLE invoices ADD COLUMN voided_at timestamptz;
DO $$
DECLARE name text;
BEGIN
  FOR name IN SELECT conname FROM pg_constraint WHERE conrelid = 'invoices'::regclass AND contype = 'c'
    AND (conname = 'invoices_state_check' OR pg_get_constraintdef(oid) LIKE '%(number IS NULL)%') LOOP
    EXECUTE format('ALTER TABLE invoices DROP CONSTRAINT %I', name);
  END LOOP;
END $$;
-- A suppressed invoice billed nothing and has no number; nobody is shown it. Its period counts as billed all the same.
ALTER TABLE invoices
  ADD CONSTRAINT invoices_state_check
    CHECK (state IN ('draft', 'finalised', 'paid', 'void', 'uncollectible', 'suppressed')),
  ADD CONSTRAINT invoices_numbered CHECK (state = 'void' OR (state IN ('draft', 'suppressed')) = (number IS NULL)),
  ADD CONSTRAINT invoices_voided CHECK ((state = 'void') = (voided_at IS NOT NULL)),
  ADD CONSTRAINT invoices_suppressed CHECK (state <> 'suppressed' OR (total_minor = 0 AND amount_due_minor = 0));
CREATE FUNCTION keep_void_invoice() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'invoice % is void for good', OLD.id; END $$;
CREATE TRIGGER invoices_keep_void BEFORE UPDATE ON invoices FOR EACH ROW
  WHEN (OLD.voided_at IS NOT NULL AND (NEW.state <> OLD.state OR NEW.voided_at IS DISTINCT FROM OLD.voided_at))
  EXECUTE FUNCTION keep_void_invoice();
GRANT UPDATE (voided_at) ON invoices TO tallyline_app;

-- A period has one invoice that is not void.
DROP INDEX invoices_tenant_id_subscription_id_period_start_key;
DROP INDEX invoices_tenant_id_subscription_id_period_end_key;
CREATE UNIQUE INDEX invoices_tenant_id_subscription_id_period_start_key
  ON invoices (tenant_id, subscription_id, period_start) WHERE NOT off_cycle AND voided_at IS NULL;
CREATE UNIQUE INDEX invoices_tenant_id_subscription_id_period_end_key
  ON invoices (tenant_id, subscription_id, period_end) WHERE NOT off_cycle AND voided_at IS NULL;

-- And so has the usage it was made from: null while its invoice is not void, and the invoice itself from then on. It stays,
-- so that a void invoice can be explained and verified.
ALTER TABLE billed_usage ADD COLUMN void_invoice_id uuid CHECK (void_invoice_id = invoice_id);
ALTER TABLE billed_usage DROP CONSTRAINT billed_usage_pkey;
ALTER TABLE billed_usage ADD CONSTRAINT billed_usage_pkey
  UNIQUE NULLS NOT DISTINCT (tenant_id, subscription_id, charge_key, meter, period_start, void_invoice_id);
GRANT UPDATE (void_invoice_id) ON billed_usage TO tallyline_app;

-- Append-only: what was done to an invoice by hand, by the idempotency key of the caller.
CREATE TABLE invoice_changes (
  tenant_id integer NOT NULL,
  invoice_id uuid NOT NULL,
  idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 256),
  change text NOT NULL CHECK (change IN ('void', 'reissue', 'write_off')),
  reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1024),
  at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, invoice_id, idempotency_key),
  FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoices
);

-- Periods whose invoice was voided to be issued anew, by the next run that knows more than was known then. Which invoice
-- took its place stands here once it is there; it is claimed by that.
CREATE TABLE periods_to_bill_again (
  tenant_id integer NOT NULL,
  void_invoice_id uuid NOT NULL,
  subscription_id uuid NOT NULL,
  period_start timestamptz NOT NULL,
  period_end timestamptz NOT NULL CHECK (period_end > period_start),
  asked_at timestamptz NOT NULL,
  invoice_id uuid,
  PRIMARY KEY (tenant_id, void_invoice_id),
  FOREIGN KEY (tenant_id, void_invoice_id) REFERENCES invoices,
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions,
  FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoices DEFERRABLE INITIALLY DEFERRED,
  CHECK (invoice_id <> void_invoice_id)
);
CREATE UNIQUE INDEX periods_to_bill_again_waiting ON periods_to_bill_again (tenant_id, subscription_id, period_start)
  WHERE invoice_id IS NULL;
CREATE UNIQUE INDEX periods_to_bill_again_billed ON periods_to_bill_again (tenant_id, invoice_id)
  WHERE invoice_id IS NOT NULL;

-- What is due and below the least amount that is worth a payment waits for the customer's next invoice of
-- the same legal entity in the currency.
-- An invoice: total − credit − balance + carried in − carried out = amount due.
ALTER TABLE invoices
  ADD COLUMN carried_in_minor bigint NOT NULL DEFAULT 0 CHECK (carried_in_minor >= 0),
  ADD COLUMN carried_out_minor bigint NOT NULL DEFAULT 0 CHECK (carried_out_minor >= 0),
  DROP CONSTRAINT invoices_amount_due,
  ADD CONSTRAINT invoices_amount_due CHECK (
    total_minor - credit_minor - balance_minor + carried_in_minor - carried_out_minor = amount_due_minor),
  ADD CONSTRAINT invoices_carried_out CHECK (carried_out_minor = 0 OR amount_due_minor = 0);
-- Which invoice carries how much forward, and which one has it; null: none yet, or that one is void. Each has it once.
CREATE TABLE carried_amounts (
  tenant_id integer NOT NULL,
  from_invoice_id uuid NOT NULL,
  customer_id uuid NOT NULL,
  -- To whom it is owed; null: to the tenant itself.
  legal_entity_id uuid,
  currency char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  at timestamptz NOT NULL,
  to_invoice_id uuid,
  PRIMARY KEY (tenant_id, from_invoice_id),
  FOREIGN KEY (tenant_id, from_invoice_id) REFERENCES invoices DEFERRABLE INITIALLY DEFERRED,
  FOREIGN KEY (tenant_id, to_invoice_id) REFERENCES invoices DEFERRABLE INITIALLY DEFERRED,
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers,
  FOREIGN KEY (tenant_id, legal_entity_id) REFERENCES legal_entities,
  CHECK (to_invoice_id <> from_invoice_id)
);
CREATE INDEX carried_amounts_waiting ON carried_amounts (tenant_id, customer_id) WHERE to_invoice_id IS NULL;
CREATE INDEX carried_amounts_to ON carried_amounts (tenant_id, to_invoice_id) WHERE to_invoice_id IS NOT NULL;

-- What a void invoice had taken goes back: to the balance, and to credit that has not expired.
ALTER TABLE balance_entries DROP CONSTRAINT balance_entries_kind_check;
DO $$
DECLARE name text;
BEGIN
  SELECT conname INTO STRICT name FROM pg_constraint WHERE conrelid = 'balance_entries'::regclass AND contype = 'c'
    AND pg_get_constraintdef(oid) LIKE '%(invoice_id IS NOT NULL)%';
  EXECUTE format('ALTER TABLE balance_entries DROP CONSTRAINT %I', name);
  SELECT conname INTO STRICT name FROM pg_constraint WHERE conrelid = 'credit_uses'::regclass AND contype = 'c'
    AND pg_get_constraintdef(oid) LIKE '%(invoice_id IS NOT NULL)%';
  EXECUTE format('ALTER TABLE credit_uses DROP CONSTRAINT %I', name);
END $$;
ALTER TABLE balance_entries
  ADD CONSTRAINT balance_entries_kind_check
    CHECK (kind IN ('applied', 'negative_invoice', 'credit_note', 'adjustment', 'void')),
  ADD CONSTRAINT balance_entries_of_invoice
    CHECK ((kind IN ('applied', 'negative_invoice', 'void')) = (invoice_id IS NOT NULL));
DROP INDEX balance_entries_invoice;
-- An invoice takes from the balance once, or gives to it once; and when it is void, what it took goes back once.
CREATE UNIQUE INDEX balance_entries_invoice ON balance_entries (tenant_id, invoice_id, (kind = 'void'))
  WHERE invoice_id IS NOT NULL;
-- Of every grant amount = remaining + the sum of its uses, as before: what is returned is below 0.
ALTER TABLE credit_uses DROP CONSTRAINT credit_uses_kind_check, DROP CONSTRAINT credit_uses_amount_minor_check;
ALTER TABLE credit_uses
  ADD CONSTRAINT credit_uses_kind_check CHECK (kind IN ('drawn', 'expired', 'rolled', 'returned')),
  ADD CONSTRAINT credit_uses_amount_minor_check CHECK ((kind = 'returned') = (amount_minor < 0) AND amount_minor <> 0),
  ADD CONSTRAINT credit_uses_of_invoice CHECK ((kind IN ('drawn', 'returned')) = (invoice_id IS NOT NULL));
DROP INDEX credit_uses_invoice;
-- An invoice draws once on a grant, and returns it once.
CREATE UNIQUE INDEX credit_uses_invoice ON credit_uses (tenant_id, invoice_id, grant_id, kind)
  WHERE invoice_id IS NOT NULL;

-- How a tenant's invoices are made. `least_due`: {"USD": "5.00"}, below which an amount due is carried forward.
CREATE TABLE invoice_settings (
  tenant_id integer PRIMARY KEY REFERENCES tenants,
  zero_invoices text NOT NULL CHECK (zero_invoices IN ('issue', 'suppress')),
  least_due jsonb NOT NULL,
  updated_at timestamptz NOT NULL
);
-- What invoices show beside amounts: custom fields, memo, footer, branding. Of a customer, a subscription or a legal
-- entity; of nobody: of the tenant, for all.
CREATE TABLE invoice_texts (
  tenant_id integer NOT NULL REFERENCES tenants,
  owner_id uuid,
  texts jsonb NOT NULL,
  updated_at timestamptz NOT NULL,
  UNIQUE NULLS NOT DISTINCT (tenant_id, owner_id)
);
-- Append-only: the same of an invoice, as it was when that was issued; no row where there was nothing.
CREATE TABLE issued_texts (
  tenant_id integer NOT NULL,
  invoice_id uuid NOT NULL,
  texts jsonb NOT NULL,
  PRIMARY KEY (tenant_id, invoice_id),
  FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoices DEFERRABLE INITIALLY DEFERRED
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['invoice_changes', 'periods_to_bill_again', 'carried_amounts', 'invoice_settings',
    'invoice_texts', 'issued_texts'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_rows ON %I TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())', name);
  END LOOP;
END $$;
GRANT SELECT, INSERT ON invoice_changes, periods_to_bill_again, carried_amounts, invoice_settings, invoice_texts,
  issued_texts TO tallyline_app;
GRANT UPDATE (invoice_id) ON periods_to_bill_again TO tallyline_app;
GRANT UPDATE (to_invoice_id) ON carried_amounts TO tallyline_app;
-- A subscription that a run parked for a period to be billed again may be parked by it for one that is due as well.
GRANT UPDATE (period_start, reason, is_due) ON parked_subscriptions TO tallyline_app;
GRANT UPDATE (zero_invoices, least_due, updated_at) ON invoice_settings TO tallyline_app;
GRANT UPDATE (texts, updated_at) ON invoice_texts TO tallyline_app;
