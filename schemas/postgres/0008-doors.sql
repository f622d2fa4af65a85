-- Doors: what an event type does with undeclared fields, a tenant's settings, and what the doors of OpenMeter keep
-- beside our own meters and subjects. Breaking: no.

-- Fields of an event's data that its schema does not declare are refused or left out; they are never stored.
ALTER TABLE event_types ADD COLUMN unknown_fields text NOT NULL DEFAULT 'refuse'
  CHECK (unknown_fields IN ('refuse', 'drop'));

-- Written by: ingest. Read by: ingest. A tenant without a row has the defaults.
CREATE TABLE tenant_settings (
  tenant_id integer PRIMARY KEY REFERENCES tenants,
  openmeter_open_types boolean NOT NULL DEFAULT true,
  updated_at timestamptz NOT NULL
);

-- Written by: aggregator. Read by: aggregator. A meter as it was created through the doors of OpenMeter; `meter` is
-- the slug of ours that counts for it. One that was deleted is hidden there; ours is archived, or goes on if needed.
CREATE TABLE openmeter_meters (
  tenant_id integer NOT NULL REFERENCES tenants,
  id text NOT NULL CHECK (length(id) = 26),
  slug text NOT NULL,
  meter text NOT NULL,
  name text,
  description text,
  metadata jsonb,
  event_type text NOT NULL,
  aggregation text NOT NULL,
  value_property text,
  -- Name of a dimension there → name of the dimension of our meter, as an array of {name, property, dimension}.
  group_by jsonb NOT NULL,
  created_at timestamptz NOT NULL,
  deleted_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, meter) REFERENCES meters (tenant_id, slug)
);
CREATE UNIQUE INDEX ON openmeter_meters (tenant_id, slug) WHERE deleted_at IS NULL;

-- Written by: aggregator. Read by: aggregator. What was said about subjects: it decides nothing.
CREATE TABLE openmeter_subjects (
  tenant_id integer NOT NULL REFERENCES tenants,
  key text NOT NULL CHECK (length(key) BETWEEN 1 AND 256),
  id text NOT NULL CHECK (length(id) = 26),
  display_name text,
  metadata jsonb,
  stripe_customer_id text,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, key)
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['tenant_settings', 'openmeter_meters', 'openmeter_subjects'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_rows ON %I TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())', name);
  END LOOP;
END $$;
CREATE TRIGGER tenant_settings_notify AFTER INSERT OR UPDATE ON tenant_settings
  FOR EACH ROW EXECUTE FUNCTION notify_config();
GRANT SELECT, INSERT, UPDATE ON tenant_settings, openmeter_subjects TO tallyline_app;
GRANT SELECT, INSERT ON openmeter_meters TO tallyline_app;
GRANT UPDATE (deleted_at) ON openmeter_meters TO tallyline_app;
