-- Voids by filter: what was asked for, and as of when. Written by: ingest. Read by: ingest. A repeat of the operation
-- finds the same events, because it looks at what was known before the same moment. The operations stand in the log.
CREATE TABLE filter_voids (
  tenant_id integer NOT NULL REFERENCES tenants,
  operation_id text NOT NULL CHECK (length(operation_id) BETWEEN 1 AND 128),
  filter jsonb NOT NULL,
  reason text NOT NULL,
  requested_by text NOT NULL,
  known_before timestamptz NOT NULL,
  event_count bigint NOT NULL CHECK (event_count >= 0),
  requested_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, operation_id)
);
ALTER TABLE filter_voids ENABLE ROW LEVEL SECURITY;
ALTER TABLE filter_voids FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_rows ON filter_voids TO tallyline_app
  USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant());
GRANT SELECT, INSERT ON filter_voids TO tallyline_app;
