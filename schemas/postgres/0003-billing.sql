-- Customers, plans, subscriptions, billing runs, invoices, payments, their history and outbox. Breaking: no.
-- Amounts are bigint minor units with an ISO 4217 code; prices and quantities are exact decimals; period boundaries
-- are stored instants at whole minutes. Keys are composite: a row can only point at rows of its own tenant.

-- Written by: invoicer. Read by: invoicer, aggregator (usage of a customer).
CREATE TABLE customers (
  tenant_id integer NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  external_key text NOT NULL CHECK (length(external_key) BETWEEN 1 AND 256),
  name text,
  email text,
  stripe_customer_id text,
  currency char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  timezone text NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, external_key)
);
-- A subject's usage is billed to one customer.
CREATE TABLE customer_subjects (
  tenant_id integer NOT NULL,
  subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 256),
  customer_id uuid NOT NULL,
  PRIMARY KEY (tenant_id, subject),
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers
);
CREATE INDEX ON customer_subjects (tenant_id, customer_id);

-- Written by: invoicer. Read by: invoicer. A plan never changes once it is stored.
CREATE TABLE plans (
  tenant_id integer NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  key text NOT NULL CHECK (length(key) BETWEEN 1 AND 256),
  name text NOT NULL,
  currency char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  period_interval text NOT NULL CHECK (period_interval IN ('day', 'week', 'month', 'year')),
  alignment text NOT NULL CHECK (alignment IN ('calendar', 'anniversary')),
  grace_seconds integer NOT NULL CHECK (grace_seconds BETWEEN 0 AND 2592000),
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, key)
);
-- One charge makes one line. A flat price has no meter, every other has one.
CREATE TABLE plan_charges (
  tenant_id integer NOT NULL,
  plan_id uuid NOT NULL,
  position smallint NOT NULL CHECK (position >= 0),
  key text NOT NULL CHECK (length(key) BETWEEN 1 AND 256),
  name text NOT NULL,
  meter text,
  price jsonb NOT NULL,
  PRIMARY KEY (tenant_id, plan_id, key),
  UNIQUE (tenant_id, plan_id, position),
  FOREIGN KEY (tenant_id, plan_id) REFERENCES plans,
  FOREIGN KEY (tenant_id, meter) REFERENCES meters (tenant_id, slug),
  CHECK ((price ->> 'model' = 'flat') = (meter IS NULL))
);

-- Written by: invoicer. Read by: invoicer. next_period_* is the first period without an invoice, null after the last
-- one. It moves in the transaction that writes the invoice and only from where that invoice starts, so the periods of
-- a subscription follow each other without gap or overlap.
CREATE TABLE subscriptions (
  tenant_id integer NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  external_key text NOT NULL CHECK (length(external_key) BETWEEN 1 AND 256),
  customer_id uuid NOT NULL,
  plan_id uuid NOT NULL,
  state text NOT NULL CHECK (state IN ('active')),
  start_at timestamptz NOT NULL CHECK (date_trunc('minute', start_at, 'UTC') = start_at),
  end_at timestamptz CHECK (date_trunc('minute', end_at, 'UTC') = end_at),
  next_period_start timestamptz CHECK (date_trunc('minute', next_period_start, 'UTC') = next_period_start),
  next_period_end timestamptz CHECK (date_trunc('minute', next_period_end, 'UTC') = next_period_end),
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, external_key),
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers,
  FOREIGN KEY (tenant_id, plan_id) REFERENCES plans,
  CHECK (end_at > start_at),
  CHECK ((next_period_start IS NULL) = (next_period_end IS NULL)),
  CHECK (next_period_start >= start_at AND next_period_start < next_period_end),
  CHECK (next_period_end <= end_at)
);
CREATE INDEX subscriptions_due ON subscriptions (tenant_id, next_period_end) WHERE next_period_end IS NOT NULL;
CREATE INDEX ON subscriptions (tenant_id, customer_id);

-- Written by: invoicer. Read by: invoicer. One seal per run; known_before is the seal's W, taken when the run opened.
-- `running` and `failed` runs are continued by the next start or cron tick, with the same as_of and the same seal.
CREATE TABLE billing_runs (
  tenant_id integer NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  state text NOT NULL CHECK (state IN ('running', 'completed', 'failed')),
  step text NOT NULL,
  as_of timestamptz NOT NULL,
  known_before timestamptz NOT NULL,
  seal_id uuid NOT NULL,
  subscriptions_due integer CHECK (subscriptions_due >= 0),
  error text,
  opened_at timestamptz NOT NULL,
  completed_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, seal_id),
  CHECK ((state = 'completed') = (completed_at IS NOT NULL)),
  CHECK (state <> 'failed' OR error IS NOT NULL)
);
CREATE INDEX billing_runs_open ON billing_runs (tenant_id, opened_at) WHERE state <> 'completed';

-- Written by: invoicer. Read by: invoicer. Append-only: why a run left a subscription out. The next run tries again.
CREATE TABLE parked_subscriptions (
  tenant_id integer NOT NULL,
  billing_run_id uuid NOT NULL,
  subscription_id uuid NOT NULL,
  period_start timestamptz NOT NULL,
  reason text NOT NULL,
  parked_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, billing_run_id, subscription_id),
  FOREIGN KEY (tenant_id, billing_run_id) REFERENCES billing_runs,
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions
);

-- Written by: invoicer. Read by: invoicer. The last number given, per tenant. Raised by the last statement of the
-- transaction that finalises: a rollback gives the numbers back, so there are no gaps.
CREATE TABLE invoice_numbers (
  tenant_id integer PRIMARY KEY REFERENCES tenants,
  last_number bigint NOT NULL CHECK (last_number >= 0)
);

-- Written by: invoicer. Read by: invoicer. The unique keys make runs idempotent: a period has one invoice, whoever
-- comes second adds nothing. An invoice without a number never outlives its transaction.
CREATE TABLE invoices (
  tenant_id integer NOT NULL,
  id uuid NOT NULL,
  number bigint CHECK (number >= 1),
  state text NOT NULL CHECK (state IN ('draft', 'finalised', 'paid', 'void', 'uncollectible')),
  billing_run_id uuid NOT NULL,
  subscription_id uuid NOT NULL,
  customer_id uuid NOT NULL,
  plan_id uuid NOT NULL,
  currency char(3) NOT NULL,
  period_start timestamptz NOT NULL CHECK (date_trunc('minute', period_start, 'UTC') = period_start),
  period_end timestamptz NOT NULL CHECK (date_trunc('minute', period_end, 'UTC') = period_end),
  subtotal_minor bigint NOT NULL,
  tax_minor bigint NOT NULL,
  total_minor bigint NOT NULL,
  amount_due_minor bigint NOT NULL CHECK (amount_due_minor >= 0),
  finalised_at timestamptz,
  paid_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, subscription_id, period_start),
  UNIQUE (tenant_id, subscription_id, period_end),
  FOREIGN KEY (tenant_id, billing_run_id) REFERENCES billing_runs,
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions,
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers,
  FOREIGN KEY (tenant_id, plan_id) REFERENCES plans,
  CHECK (period_start < period_end),
  CHECK (subtotal_minor + tax_minor = total_minor),
  CHECK ((state = 'draft') = (number IS NULL)),
  CHECK ((state = 'draft') = (finalised_at IS NULL)),
  CHECK ((state = 'paid') = (paid_at IS NOT NULL))
);
CREATE UNIQUE INDEX invoices_number ON invoices (tenant_id, number) WHERE number IS NOT NULL;
CREATE INDEX invoices_run ON invoices (tenant_id, billing_run_id, id);
CREATE INDEX invoices_customer ON invoices (tenant_id, customer_id, id);

-- What was issued stays as it was issued.
CREATE FUNCTION keep_issued_invoice() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'invoice % is issued: its number and date never change', OLD.id; END $$;
CREATE TRIGGER invoices_keep_issued BEFORE UPDATE ON invoices FOR EACH ROW
  WHEN (OLD.number IS NOT NULL AND (NEW.number IS DISTINCT FROM OLD.number
    OR NEW.finalised_at IS DISTINCT FROM OLD.finalised_at))
  EXECUTE FUNCTION keep_issued_invoice();

-- Written by: invoicer. Read by: invoicer. Append-only.
CREATE TABLE invoice_lines (
  tenant_id integer NOT NULL,
  invoice_id uuid NOT NULL,
  line_index smallint NOT NULL CHECK (line_index >= 0),
  charge_key text NOT NULL,
  description text NOT NULL,
  meter text,
  period_start timestamptz NOT NULL,
  period_end timestamptz NOT NULL,
  amount_minor bigint NOT NULL,
  currency char(3) NOT NULL,
  breakdown jsonb NOT NULL,
  PRIMARY KEY (tenant_id, invoice_id, line_index),
  FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoices,
  CHECK (period_start < period_end)
);

-- Written by: invoicer. Read by: invoicer, aggregator (billed and unbilled usage). Append-only: what a line was made
-- from. Quantity, count and digest are those of the seal, so the line can be recomputed from it for ever.
CREATE TABLE billed_usage (
  tenant_id integer NOT NULL,
  subscription_id uuid NOT NULL,
  charge_key text NOT NULL,
  meter text NOT NULL,
  period_start timestamptz NOT NULL,
  period_end timestamptz NOT NULL,
  customer_id uuid NOT NULL,
  invoice_id uuid NOT NULL,
  line_index smallint NOT NULL,
  seal_id uuid NOT NULL,
  quantity numeric(38, 12) NOT NULL,
  event_count bigint NOT NULL CHECK (event_count >= 0),
  digest numeric(39, 0) NOT NULL CHECK (digest >= 0),
  PRIMARY KEY (tenant_id, subscription_id, charge_key, meter, period_start),
  UNIQUE (tenant_id, invoice_id, line_index),
  FOREIGN KEY (tenant_id, invoice_id, line_index) REFERENCES invoice_lines,
  FOREIGN KEY (tenant_id, seal_id) REFERENCES seals,
  CHECK (period_start < period_end)
);
CREATE INDEX billed_usage_customer ON billed_usage (tenant_id, customer_id, meter, period_start);

-- Written by: invoicer. Read by: invoicer. An attempt is a row before the gateway hears of it, with a key that never
-- changes; `created` and `unknown` are sent again with that key, never with a new one.
CREATE TABLE payments (
  tenant_id integer NOT NULL,
  id uuid NOT NULL,
  invoice_id uuid NOT NULL,
  gateway text NOT NULL CHECK (gateway IN ('manual')),
  idempotency_key text NOT NULL,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  currency char(3) NOT NULL,
  state text NOT NULL CHECK (state IN ('created', 'succeeded', 'declined', 'unknown')),
  gateway_reference text,
  reason text,
  created_at timestamptz NOT NULL,
  settled_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, gateway, idempotency_key),
  FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoices,
  CHECK ((state IN ('succeeded', 'declined')) = (settled_at IS NOT NULL))
);
-- At most one successful charge per invoice, and at most one that may still become one.
CREATE UNIQUE INDEX payments_one_success ON payments (tenant_id, invoice_id) WHERE state = 'succeeded';
CREATE UNIQUE INDEX payments_one_live ON payments (tenant_id, invoice_id) WHERE state IN ('created', 'unknown');
CREATE INDEX ON payments (tenant_id, invoice_id);

-- Written by: invoicer. Read by: invoicer. A row stands in the transaction of what it tells; delivery comes later.
CREATE TABLE outbox (
  tenant_id integer NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  topic text NOT NULL,
  payload jsonb NOT NULL,
  created_at timestamptz NOT NULL,
  delivered_at timestamptz,
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX outbox_waiting ON outbox (tenant_id, id) WHERE delivered_at IS NULL;

-- Written by: invoicer. Read by: invoicer. Append-only: everything that happened in billing, in the transaction that
-- made it happen.
CREATE TABLE billing_events (
  tenant_id integer NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  event text NOT NULL,
  at timestamptz NOT NULL,
  customer_id uuid,
  subscription_id uuid,
  invoice_id uuid,
  billing_run_id uuid,
  data jsonb NOT NULL,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers,
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions,
  FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoices,
  FOREIGN KEY (tenant_id, billing_run_id) REFERENCES billing_runs
);
CREATE INDEX ON billing_events (tenant_id, customer_id, id);
CREATE INDEX ON billing_events (tenant_id, invoice_id, id);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['customers', 'customer_subjects', 'plans', 'plan_charges', 'subscriptions',
    'billing_runs', 'parked_subscriptions', 'invoice_numbers', 'invoices', 'invoice_lines', 'billed_usage', 'payments',
    'outbox', 'billing_events'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_rows ON %I TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())', name);
  END LOOP;
END $$;
-- Without UPDATE and DELETE a table is append-only; with columns named, the rest of the row is.
GRANT SELECT, INSERT ON customers, customer_subjects, plans, plan_charges, subscriptions, billing_runs,
  parked_subscriptions, invoice_numbers, invoices, invoice_lines, billed_usage, payments, outbox, billing_events
  TO tallyline_app;
GRANT UPDATE (next_period_start, next_period_end) ON subscriptions TO tallyline_app;
GRANT UPDATE (state, step, subscriptions_due, error, completed_at) ON billing_runs TO tallyline_app;
GRANT UPDATE (last_number) ON invoice_numbers TO tallyline_app;
GRANT UPDATE (number, state, finalised_at, paid_at) ON invoices TO tallyline_app;
GRANT UPDATE (state, gateway_reference, reason, settled_at) ON payments TO tallyline_app;
GRANT UPDATE (delivered_at) ON outbox TO tallyline_app;
