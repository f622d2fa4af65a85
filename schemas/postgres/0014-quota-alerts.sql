-- Levels of quotas that were reached, and webhooks that tell of them. Breaking: no.

-- Written by: ingest. Read by: ingest. Append-only. A level of a limit is reached once in a window of its counter: the
-- key decides, whichever process comes first. `holder` is the subject, or the id of the customer whose subjects share
-- the counter. Limit and use are those of the moment.
CREATE TABLE quota_alerts (
  tenant_id integer NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  holder text NOT NULL CHECK (length(holder) BETWEEN 1 AND 256),
  of_customer boolean NOT NULL,
  meter text NOT NULL,
  feature text NOT NULL,
  period text NOT NULL CHECK (period IN ('hour', 'day', 'month', 'billing_period')),
  window_start timestamptz NOT NULL,
  window_end timestamptz NOT NULL CHECK (window_end > window_start),
  -- A share of the limit, '80%', or a quantity, '500'.
  level text NOT NULL CHECK (level ~ '^\d+(\.\d+)?%?$'),
  limit_quantity numeric NOT NULL CHECK (limit_quantity >= 0),
  used_quantity numeric NOT NULL CHECK (used_quantity > 0),
  fired_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, holder, of_customer, meter, feature, window_start, window_end, level),
  UNIQUE (tenant_id, id)
);

-- Written by: ingest. Read by: ingest. Where a tenant is told, and of what. One that was deleted stays, without its
-- secret, beside its deliveries; its name is free again.
CREATE TABLE webhook_endpoints (
  tenant_id integer NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  url text NOT NULL CHECK (length(url) BETWEEN 1 AND 2048),
  topics text[] NOT NULL CHECK (cardinality(topics) BETWEEN 1 AND 16 AND array_position(topics, NULL) IS NULL),
  secret text CHECK (secret ~ '^whsec_'),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  deleted_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  CHECK ((deleted_at IS NULL) = (secret IS NOT NULL))
);
CREATE UNIQUE INDEX webhook_endpoints_name ON webhook_endpoints (tenant_id, name) WHERE deleted_at IS NULL;

-- Written by: ingest. Read by: ingest. An outbox: a row stands in the transaction of what it tells. `event_id` is the
-- alert's, and the same at every attempt; `payload` is the text that is signed and sent.
CREATE TABLE webhook_deliveries (
  tenant_id integer NOT NULL,
  endpoint_id uuid NOT NULL,
  event_id uuid NOT NULL,
  topic text NOT NULL,
  payload json NOT NULL,
  state text NOT NULL CHECK (state IN ('waiting', 'delivered', 'failed')),
  -- Attempts begun. While one is under way the next is due when its process must have died.
  attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  next_attempt_at timestamptz NOT NULL,
  last_error text CHECK (length(last_error) <= 256),
  created_at timestamptz NOT NULL,
  ended_at timestamptz,
  PRIMARY KEY (tenant_id, endpoint_id, event_id),
  FOREIGN KEY (tenant_id, endpoint_id) REFERENCES webhook_endpoints (tenant_id, id),
  CHECK ((state = 'waiting') = (ended_at IS NULL))
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (next_attempt_at, tenant_id) WHERE state = 'waiting';

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['quota_alerts', 'webhook_endpoints', 'webhook_deliveries'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_rows ON %I TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())', name);
  END LOOP;
END $$;
-- The function below runs as the owner, who need not be a superuser.
CREATE POLICY owner_rows ON webhook_deliveries TO CURRENT_USER USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON quota_alerts, webhook_endpoints, webhook_deliveries TO tallyline_app;
GRANT UPDATE (url, topics, secret, updated_at, deleted_at) ON webhook_endpoints TO tallyline_app;
GRANT UPDATE (state, attempts, next_attempt_at, last_error, ended_at) ON webhook_deliveries TO tallyline_app;

-- Who has deliveries that are due, whose has waited longest first: asked every two seconds, so not tenant by tenant.
CREATE FUNCTION tenants_with_due_webhooks(due_at timestamptz) RETURNS TABLE (tenant_id integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public
AS $$
  SELECT d.tenant_id FROM webhook_deliveries d
  WHERE d.state = 'waiting' AND d.next_attempt_at <= due_at
  GROUP BY d.tenant_id ORDER BY min(d.next_attempt_at)
$$;
