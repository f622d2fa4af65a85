-- Prepaid credit that pays some lines only, that recurs, that rolls over, and that is bought by itself. Breaking: stop all invoicer processes of
-- before first: they draw credit that pays some lines only for any, and let expire what rolls over.
-- Written by: invoicer. Read by: invoicer.

-- Credit that is given by itself, at the start of each of its periods: those that `period_every` intervals after `start_at`
-- begin, in the zone, computed from there and never by chaining. `next_at` is the first that nothing was given for, whose
-- number is `next_index`; null when there is none to come. `scope` and `rollover` are as the doors of the API have them.
CREATE TABLE credit_schedules (
  tenant_id integer NOT NULL,
  id uuid NOT NULL,
  external_key text NOT NULL CHECK (length(external_key) BETWEEN 1 AND 256),
  customer_id uuid NOT NULL,
  name text,
  currency char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  priority smallint NOT NULL CHECK (priority BETWEEN 0 AND 1000),
  scope jsonb,
  rollover jsonb,
  period_interval text NOT NULL CHECK (period_interval IN ('day', 'week', 'month', 'quarter', 'half_year', 'year')),
  period_every integer NOT NULL CHECK (period_every BETWEEN 1 AND 366),
  timezone text NOT NULL,
  start_at timestamptz NOT NULL CHECK (date_trunc('minute', start_at, 'UTC') = start_at),
  -- None is given from then on.
  until_at timestamptz CHECK (until_at > start_at),
  -- So many are given.
  grants integer CHECK (grants BETWEEN 1 AND 10000),
  -- Each expires when the next one would be given, so many days after it was, or never.
  expires text NOT NULL CHECK (expires IN ('next_grant', 'after_days', 'never')),
  expires_after_days integer CHECK (expires_after_days BETWEEN 1 AND 36500),
  created_at timestamptz NOT NULL,
  next_index integer NOT NULL CHECK (next_index >= 0),
  next_at timestamptz,
  stopped_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, customer_id, external_key),
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers,
  CHECK ((expires = 'after_days') = (expires_after_days IS NOT NULL)),
  CHECK (rollover IS NULL OR expires <> 'never'),
  CHECK (stopped_at IS NULL OR next_at IS NULL)
);
CREATE INDEX credit_schedules_customer ON credit_schedules (tenant_id, customer_id) WHERE next_at IS NOT NULL;
CREATE INDEX credit_schedules_due ON credit_schedules (next_at, tenant_id) WHERE next_at IS NOT NULL;

-- What is bought for a customer by itself when what is available falls below a threshold, so often at most in a calendar
-- day, week or month of the customer. Declines in a row put the next one off (`retry_at`), and then suspend the rule.
CREATE TABLE credit_top_up_rules (
  tenant_id integer NOT NULL,
  customer_id uuid NOT NULL,
  currency char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  threshold_minor bigint NOT NULL CHECK (threshold_minor >= 0),
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  most_purchases integer NOT NULL CHECK (most_purchases BETWEEN 1 AND 1000),
  per text NOT NULL CHECK (per IN ('day', 'week', 'month')),
  priority smallint NOT NULL CHECK (priority BETWEEN 0 AND 1000),
  expires_after_days integer CHECK (expires_after_days BETWEEN 1 AND 36500),
  scope jsonb,
  declines smallint NOT NULL DEFAULT 0 CHECK (declines >= 0),
  retry_at timestamptz,
  suspended_at timestamptz,
  removed_at timestamptz,
  reason text,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, customer_id),
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers
);

-- A purchase of credit: a row before the gateway is asked, with the key that it is asked with each time. Paid, it is a grant
-- in the same transaction. It is no invoice, no revenue, and not taxed.
CREATE TABLE credit_purchases (
  tenant_id integer NOT NULL,
  id uuid NOT NULL,
  customer_id uuid NOT NULL,
  currency char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  priority smallint NOT NULL CHECK (priority BETWEEN 0 AND 1000),
  expires_after_days integer CHECK (expires_after_days BETWEEN 1 AND 36500),
  scope jsonb,
  -- What was available when it was opened.
  available_minor bigint NOT NULL,
  gateway text NOT NULL,
  state text NOT NULL CHECK (state IN ('created', 'paid', 'declined')),
  gateway_reference text,
  reason text,
  created_at timestamptz NOT NULL,
  next_attempt_at timestamptz,
  settled_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers,
  CHECK ((state = 'created') = (settled_at IS NULL)),
  CHECK ((state = 'created') = (next_attempt_at IS NOT NULL)),
  CHECK ((state = 'paid') = (gateway_reference IS NOT NULL))
);
-- One at a time.
CREATE UNIQUE INDEX credit_purchases_open ON credit_purchases (tenant_id, customer_id) WHERE state = 'created';
CREATE INDEX credit_purchases_due ON credit_purchases (next_attempt_at, tenant_id) WHERE state = 'created';
CREATE INDEX credit_purchases_customer ON credit_purchases (tenant_id, customer_id, created_at);

-- A grant with a scope pays the lines of these meters and charges, and their tax. What is left of one with a rollover when
-- it expires becomes another grant, `rolled_from` it. One of a schedule is its number `schedule_index`: each is given once,
-- whoever comes first. None of these, nor one that was bought, has an external key. `created_at` is when a grant began to pay.
ALTER TABLE credit_grants
  ALTER COLUMN external_key DROP NOT NULL,
  ADD COLUMN scope jsonb,
  ADD COLUMN rollover jsonb,
  ADD COLUMN schedule_id uuid,
  ADD COLUMN schedule_index integer,
  ADD COLUMN rolled_from uuid,
  ADD COLUMN purchase_id uuid,
  ADD CONSTRAINT credit_grants_purchase FOREIGN KEY (tenant_id, purchase_id) REFERENCES credit_purchases,
  ADD CONSTRAINT credit_grants_schedule FOREIGN KEY (tenant_id, schedule_id) REFERENCES credit_schedules,
  ADD CONSTRAINT credit_grants_rolled_from FOREIGN KEY (tenant_id, rolled_from) REFERENCES credit_grants,
  ADD CONSTRAINT credit_grants_rollover CHECK (rollover IS NULL OR expires_at IS NOT NULL),
  ADD CONSTRAINT credit_grants_origin CHECK (
    (schedule_index IS NULL OR schedule_id IS NOT NULL)
    AND num_nonnulls(external_key, schedule_index, rolled_from, purchase_id) = 1);
CREATE UNIQUE INDEX credit_grants_of_schedule ON credit_grants (tenant_id, schedule_id, schedule_index)
  WHERE schedule_index IS NOT NULL;
CREATE UNIQUE INDEX credit_grants_rolled_once ON credit_grants (tenant_id, rolled_from) WHERE rolled_from IS NOT NULL;
CREATE UNIQUE INDEX credit_grants_bought_once ON credit_grants (tenant_id, purchase_id) WHERE purchase_id IS NOT NULL;
CREATE INDEX credit_grants_rolling ON credit_grants (expires_at, tenant_id, customer_id)
  WHERE remaining_minor > 0 AND rollover IS NOT NULL;

-- What rolled over was taken off one grant and is the amount of another: amount = remaining + drawn + expired + rolled.
ALTER TABLE credit_uses ADD COLUMN to_grant_id uuid;
ALTER TABLE credit_uses DROP CONSTRAINT credit_uses_kind_check;
ALTER TABLE credit_uses
  ADD CONSTRAINT credit_uses_kind_check CHECK (kind IN ('drawn', 'expired', 'rolled')),
  ADD CONSTRAINT credit_uses_to_grant FOREIGN KEY (tenant_id, to_grant_id) REFERENCES credit_grants,
  ADD CONSTRAINT credit_uses_rolled CHECK ((kind = 'rolled') = (to_grant_id IS NOT NULL));
CREATE UNIQUE INDEX credit_uses_to_grant_once ON credit_uses (tenant_id, to_grant_id) WHERE to_grant_id IS NOT NULL;

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['credit_schedules', 'credit_top_up_rules', 'credit_purchases'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_rows ON %I TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())', name);
  END LOOP;
END $$;
-- The functions below run as the owner, who need not be a superuser.
CREATE POLICY owner_rows ON credit_schedules TO CURRENT_USER USING (true) WITH CHECK (true);
CREATE POLICY owner_rows ON credit_purchases TO CURRENT_USER USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON credit_schedules, credit_purchases, credit_top_up_rules TO tallyline_app;
GRANT UPDATE (next_index, next_at, stopped_at) ON credit_schedules TO tallyline_app;
GRANT UPDATE (state, gateway_reference, reason, next_attempt_at, settled_at) ON credit_purchases TO tallyline_app;
GRANT UPDATE (threshold_minor, amount_minor, most_purchases, per, priority, expires_after_days, scope, declines, retry_at,
  suspended_at, removed_at, reason, updated_at) ON credit_top_up_rules TO tallyline_app;

-- Who has credit to be given, or to roll over. Not tenant by tenant: most have none.
CREATE FUNCTION tenants_with_credit_to_renew(at timestamptz) RETURNS TABLE (tenant_id integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public
AS $$
  SELECT s.tenant_id FROM credit_schedules s WHERE s.next_at <= at
  UNION
  SELECT g.tenant_id FROM credit_grants g
  WHERE g.remaining_minor > 0 AND g.rollover IS NOT NULL AND g.expires_at <= at
$$;

-- Who has a purchase to ask the gateway for.
CREATE FUNCTION tenants_with_open_purchases(at timestamptz) RETURNS TABLE (tenant_id integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public
AS $$
  SELECT DISTINCT p.tenant_id FROM credit_purchases p WHERE p.state = 'created' AND p.next_attempt_at <= at
$$;
