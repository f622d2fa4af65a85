-- Prepaid credit of customers, and what of it invoices took. Breaking: no.

-- Written by: invoicer. Read by: invoicer. Credit in the customer's currency. `priority`: the lowest pays first, then what
-- expires first, then the oldest. `balance_minor` is what the customer had right behind this grant, itself included.
CREATE TABLE credit_grants (
  tenant_id integer NOT NULL,
  id uuid NOT NULL,
  external_key text NOT NULL CHECK (length(external_key) BETWEEN 1 AND 256),
  customer_id uuid NOT NULL,
  name text,
  currency char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  remaining_minor bigint NOT NULL CHECK (remaining_minor BETWEEN 0 AND amount_minor),
  balance_minor bigint NOT NULL CHECK (balance_minor >= amount_minor),
  priority smallint NOT NULL CHECK (priority BETWEEN 0 AND 1000),
  expires_at timestamptz CHECK (expires_at > created_at),
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, customer_id, external_key),
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers
);
CREATE INDEX credit_grants_left ON credit_grants (tenant_id, customer_id) WHERE remaining_minor > 0;
CREATE INDEX credit_grants_expiring ON credit_grants (expires_at, tenant_id) WHERE remaining_minor > 0;

-- Written by: invoicer. Read by: invoicer. Append-only: where a grant's credit went. Of every grant
-- amount = remaining + the sum of these, always.
CREATE TABLE credit_uses (
  tenant_id integer NOT NULL,
  id uuid NOT NULL,
  grant_id uuid NOT NULL,
  kind text NOT NULL CHECK (kind IN ('drawn', 'expired')),
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  invoice_id uuid,
  at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, grant_id) REFERENCES credit_grants,
  -- An invoice comes after what it draws, because drawing its number is the last statement of their transaction.
  FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoices DEFERRABLE INITIALLY DEFERRED,
  CHECK ((kind = 'drawn') = (invoice_id IS NOT NULL))
);
-- An invoice draws once on a grant.
CREATE UNIQUE INDEX credit_uses_invoice ON credit_uses (tenant_id, invoice_id, grant_id) WHERE invoice_id IS NOT NULL;
CREATE INDEX credit_uses_grant ON credit_uses (tenant_id, grant_id);

-- Prepaid credit pays the total, tax included.
ALTER TABLE invoices ADD COLUMN credit_minor bigint NOT NULL DEFAULT 0 CHECK (credit_minor >= 0);
ALTER TABLE invoices ADD CHECK (total_minor - credit_minor = amount_due_minor);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['credit_grants', 'credit_uses'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_rows ON %I TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())', name);
  END LOOP;
END $$;
-- The function below runs as the owner, who need not be a superuser.
CREATE POLICY owner_rows ON credit_grants TO CURRENT_USER USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON credit_grants, credit_uses TO tallyline_app;
GRANT UPDATE (remaining_minor) ON credit_grants TO tallyline_app;

-- Who has credit that has expired. Not tenant by tenant: most have none.
CREATE FUNCTION tenants_with_expired_credit(at timestamptz) RETURNS TABLE (tenant_id integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public
AS $$
  SELECT DISTINCT g.tenant_id FROM credit_grants g WHERE g.remaining_minor > 0 AND g.expires_at <= at
$$;

-- Levels of prepaid credit are told once in each fill, and a fill begins with the customer's latest grant.
CREATE INDEX credit_grants_customer ON credit_grants (tenant_id, customer_id, created_at, id);

-- Written by: invoicer. Read by: invoicer. At which levels of a customer's credit to tell; both empty: at none. A first
-- grant brings a row with it. `next_look_at` is when the credit is compared with them next: who looks sets it ahead, so
-- that nobody else looks meanwhile, and whoever dies over it leaves it due again. It is infinity when everything of the
-- fill is told; the next grant or change sets it to its own time.
CREATE TABLE credit_thresholds (
  tenant_id integer NOT NULL,
  customer_id uuid NOT NULL,
  -- Shares of the fill that are used up, '80%'.
  used text[] NOT NULL CHECK (cardinality(used) <= 20
    AND array_to_string(used, ' ', '?') ~ '^([1-9][0-9]*%( [1-9][0-9]*%)*)?$'),
  -- Amounts that are still available, '10.00'.
  remaining text[] NOT NULL CHECK (cardinality(remaining) <= 20
    AND array_to_string(remaining, ' ', '?') ~ '^([0-9]+(\.[0-9]+)?( [0-9]+(\.[0-9]+)?)*)?$'),
  updated_at timestamptz NOT NULL,
  next_look_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, customer_id),
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers
);
CREATE INDEX credit_thresholds_due ON credit_thresholds (tenant_id, next_look_at);

-- Written by: invoicer. Read by: invoicer. Append-only. A level is told once in a fill: the key decides, whichever
-- process comes first. `base_minor` is the balance right behind the grant that the fill began with; used = base −
-- available, never below 0, and available is below 0 where more is spent than there is. As of the moment.
CREATE TABLE credit_alerts (
  tenant_id integer NOT NULL,
  id uuid NOT NULL,
  customer_id uuid NOT NULL,
  grant_id uuid NOT NULL,
  level text NOT NULL CHECK (level ~ '^[0-9]+(%|(\.[0-9]+)? left)$'),
  base_minor bigint NOT NULL CHECK (base_minor > 0),
  used_minor bigint NOT NULL CHECK (used_minor >= 0 AND used_minor >= base_minor - available_minor),
  available_minor bigint NOT NULL,
  currency char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  fired_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, customer_id, grant_id, level),
  UNIQUE (tenant_id, id),
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers,
  FOREIGN KEY (tenant_id, grant_id) REFERENCES credit_grants
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['credit_thresholds', 'credit_alerts'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_rows ON %I TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())', name);
  END LOOP;
END $$;
-- The function below runs as the owner, who need not be a superuser.
CREATE POLICY owner_rows ON credit_thresholds TO CURRENT_USER USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON credit_thresholds, credit_alerts TO tallyline_app;
GRANT UPDATE (used, remaining, updated_at, next_look_at) ON credit_thresholds TO tallyline_app;

-- Who has credit to look at, and since when; whose has waited longest first. Not tenant by tenant: most have none.
CREATE FUNCTION tenants_with_due_credit(due_at timestamptz) RETURNS TABLE (tenant_id integer, due_since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public
AS $$
  SELECT t.tenant_id, min(t.next_look_at) FROM credit_thresholds t
  WHERE t.next_look_at <= due_at
  GROUP BY t.tenant_id ORDER BY 2
$$;
