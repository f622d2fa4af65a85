-- Entitlements: what a subject, a customer, or everybody on a plan may use. Breaking: no; the rows of quota_limits go on
-- being read, as entitlements of subjects under the name of their meter. Processes from before know of no entitlements:
-- their edges do not hold to them, and their aggregators archive meters that one needs. Replace all, then use them.
-- Written by: ingest. Read by: ingest, aggregator (which meters are needed). `terms` is the entitlement as it was given.
-- A holder is named as its users know it: subject, external key of the customer, key of the plan. A plan need not be in
-- the catalogue yet: the one that BILLING_TIER_DEFAULT names never has to be.
CREATE TABLE entitlements (
  tenant_id integer NOT NULL REFERENCES tenants,
  holder_kind text NOT NULL CHECK (holder_kind IN ('subject', 'customer', 'plan')),
  holder text NOT NULL CHECK (length(holder) BETWEEN 1 AND 256),
  feature text NOT NULL CHECK (feature ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  meter text,
  terms jsonb NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, holder_kind, holder, feature),
  FOREIGN KEY (tenant_id, meter) REFERENCES meters (tenant_id, slug),
  CHECK ((terms ->> 'type' = 'metered') = (meter IS NOT NULL))
);
CREATE INDEX ON entitlements (tenant_id, meter) WHERE meter IS NOT NULL;

ALTER TABLE entitlements ENABLE ROW LEVEL SECURITY;
ALTER TABLE entitlements FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_rows ON entitlements TO tallyline_app
  USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON entitlements TO tallyline_app;
-- A limit can be taken away again.
GRANT DELETE ON quota_limits TO tallyline_app;

CREATE FUNCTION notify_config_removed() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN PERFORM pg_notify('tallyline_config', TG_TABLE_NAME || ':' || OLD.tenant_id); RETURN OLD; END $$;
CREATE TRIGGER entitlements_notify AFTER INSERT OR UPDATE ON entitlements
  FOR EACH ROW EXECUTE FUNCTION notify_config();
CREATE TRIGGER entitlements_notify_removed AFTER DELETE ON entitlements
  FOR EACH ROW EXECUTE FUNCTION notify_config_removed();
CREATE TRIGGER quota_limits_notify_removed AFTER DELETE ON quota_limits
  FOR EACH ROW EXECUTE FUNCTION notify_config_removed();
