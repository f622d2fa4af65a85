-- Event types, meters and quota limits. Breaking: no.

-- Written by: ingest. Read by: ingest. `schema` is the Avro schema of an event's data.
CREATE TABLE event_types (
  tenant_id integer NOT NULL REFERENCES tenants,
  type text NOT NULL CHECK (length(type) BETWEEN 1 AND 128),
  version integer NOT NULL CHECK (version >= 1),
  schema jsonb NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, type)
);

-- Written by: aggregator. Read by: ingest (quotas, values), invoicer (lines).
-- `revision` grows with every change of any meter of the tenant; rollups say which revision they were built with.
CREATE TABLE meters (
  tenant_id integer NOT NULL REFERENCES tenants,
  slug text NOT NULL CHECK (slug ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  event_type text NOT NULL,
  aggregation text NOT NULL CHECK (aggregation IN ('sum', 'count')),
  value_path text[] NOT NULL,
  group_by jsonb NOT NULL,
  revision integer NOT NULL CHECK (revision >= 1),
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, slug),
  CHECK (aggregation = 'count' OR cardinality(value_path) > 0)
);

-- Written by: ingest. Read by: ingest.
CREATE TABLE quota_limits (
  tenant_id integer NOT NULL REFERENCES tenants,
  subject text NOT NULL,
  meter text NOT NULL,
  limit_quantity numeric(38, 12) NOT NULL CHECK (limit_quantity >= 0),
  period text NOT NULL CHECK (period IN ('day', 'month')),
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, subject, meter),
  FOREIGN KEY (tenant_id, meter) REFERENCES meters (tenant_id, slug)
);

-- The invoicer asks, the aggregator answers. W (`known_before`) says which identities belong: those whose first
-- copy was known before it. One seal per billing run.
CREATE TABLE seal_requests (
  tenant_id integer NOT NULL REFERENCES tenants,
  seal_id uuid NOT NULL,
  known_before timestamptz NOT NULL,
  requested_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, seal_id)
);
CREATE TABLE seals (
  tenant_id integer NOT NULL,
  seal_id uuid NOT NULL,
  known_before timestamptz NOT NULL,
  log_offsets jsonb NOT NULL,
  event_count bigint NOT NULL CHECK (event_count >= 0),
  digest numeric(39, 0) NOT NULL CHECK (digest >= 0),
  sealed_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, seal_id),
  FOREIGN KEY (tenant_id, seal_id) REFERENCES seal_requests
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['event_types', 'meters', 'quota_limits', 'seal_requests', 'seals'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_rows ON %I TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())', name);
  END LOOP;
  FOREACH name IN ARRAY ARRAY['event_types', 'meters', 'quota_limits', 'seal_requests', 'seals'] LOOP
    EXECUTE format('CREATE TRIGGER %I AFTER INSERT OR UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION notify_config()', name || '_notify', name);
  END LOOP;
END $$;
GRANT SELECT, INSERT, UPDATE ON event_types, meters, quota_limits TO tallyline_app;
GRANT SELECT, INSERT ON seal_requests, seals TO tallyline_app;
