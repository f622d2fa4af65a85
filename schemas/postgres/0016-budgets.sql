-- Budgets of subscriptions, and levels of them that spend reached. Breaking: no. Webhooks of 0014 tell of these levels
-- too: from now on the invoicer writes deliveries as well, in the transaction of what they tell; ingest sends them.

-- Written by: invoicer. Read by: invoicer. What a subscription should cost in a billing period, in the currency of its
-- plan. `next_look_at` is when its spend is compared with it next: who looks sets it ahead, so that nobody else looks
-- meanwhile, and whoever dies over it leaves it due again.
CREATE TABLE subscription_budgets (
  tenant_id integer NOT NULL,
  subscription_id uuid NOT NULL,
  amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
  -- Shares of the amount, '80%', or amounts, '250.00'.
  thresholds text[] NOT NULL CHECK (cardinality(thresholds) BETWEEN 1 AND 20
    AND array_to_string(thresholds, ' ', '?') ~ '^[0-9]+(\.[0-9]+)?%?( [0-9]+(\.[0-9]+)?%?)*$'),
  updated_at timestamptz NOT NULL,
  next_look_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, subscription_id),
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions
);

-- Written by: invoicer. Read by: invoicer. Append-only. A level is told once for a subscription and billing period: the
-- key decides, whichever process comes first. Budget and spend are those of the moment.
CREATE TABLE spend_alerts (
  tenant_id integer NOT NULL,
  id uuid NOT NULL,
  subscription_id uuid NOT NULL,
  period_start timestamptz NOT NULL,
  period_end timestamptz NOT NULL CHECK (period_end > period_start),
  level text NOT NULL CHECK (level ~ '^[0-9]+(\.[0-9]+)?%?$'),
  budget_minor bigint NOT NULL CHECK (budget_minor >= 0),
  spent_minor bigint NOT NULL CHECK (spent_minor > 0),
  currency char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  fired_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, subscription_id, period_start, level),
  UNIQUE (tenant_id, id),
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['subscription_budgets', 'spend_alerts'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_rows ON %I TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())', name);
  END LOOP;
END $$;
-- The function below runs as the owner, who need not be a superuser.
CREATE POLICY owner_rows ON subscription_budgets TO CURRENT_USER USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, DELETE ON subscription_budgets TO tallyline_app;
GRANT UPDATE (amount_minor, thresholds, updated_at, next_look_at) ON subscription_budgets TO tallyline_app;
GRANT SELECT, INSERT ON spend_alerts TO tallyline_app;

-- Who has budgets to look at, and since when; whose has waited longest first. Not tenant by tenant: most have none.
CREATE FUNCTION tenants_with_due_budgets(due_at timestamptz) RETURNS TABLE (tenant_id integer, due_since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public
AS $$
  SELECT b.tenant_id, min(b.next_look_at) FROM subscription_budgets b
  WHERE b.next_look_at <= due_at
  GROUP BY b.tenant_id ORDER BY 2
$$;
