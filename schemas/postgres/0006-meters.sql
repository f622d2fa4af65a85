-- Meters of every aggregation, in versions. Breaking: no. `meters` holds what all versions share and, of the others, the
-- newest version's; `meter_versions` holds each. Written by: aggregator. Read by: ingest, invoicer.

ALTER TABLE meters DROP CONSTRAINT meters_aggregation_check;
ALTER TABLE meters DROP CONSTRAINT meters_check;
ALTER TABLE meters
  ADD COLUMN window_size text CHECK (window_size IN ('hour', 'day')),
  ADD COLUMN percentile numeric(7, 4) CHECK (percentile > 0 AND percentile <= 100),
  ADD COLUMN archived_at timestamptz,
  ADD CONSTRAINT meters_aggregation_check CHECK (aggregation IN (
    'count', 'sum', 'min', 'max', 'average', 'unique_count', 'latest', 'time_weighted_sum', 'percentile'
  )),
  ADD CONSTRAINT meters_percentile_given CHECK ((aggregation = 'percentile') = (percentile IS NOT NULL));

-- An event counts with the version in whose time it lies: from effective_from to that of the next version. `value` is
-- the expression and `filter` the condition as their author wrote them.
CREATE TABLE meter_versions (
  tenant_id integer NOT NULL,
  slug text NOT NULL,
  version integer NOT NULL CHECK (version >= 1),
  effective_from timestamptz NOT NULL CHECK (date_trunc('minute', effective_from, 'UTC') = effective_from),
  event_type text NOT NULL,
  value text,
  filter jsonb,
  revision integer NOT NULL CHECK (revision >= 1),
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, slug, version),
  UNIQUE (tenant_id, slug, effective_from),
  FOREIGN KEY (tenant_id, slug) REFERENCES meters (tenant_id, slug)
);
-- Forced security hides all rows from the owner too, whoever is no superuser.
ALTER TABLE meters NO FORCE ROW LEVEL SECURITY;
INSERT INTO meter_versions
SELECT tenant_id, slug, 1, 'epoch', event_type, NULLIF(array_to_string(value_path, '.'), ''), NULL, revision, updated_at
FROM meters;
ALTER TABLE meters FORCE ROW LEVEL SECURITY;

ALTER TABLE meter_versions ENABLE ROW LEVEL SECURITY;
ALTER TABLE meter_versions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_rows ON meter_versions TO tallyline_app
  USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant());
GRANT SELECT, INSERT ON meter_versions TO tallyline_app;
-- Every change of a version changes its meter too, whose trigger tells the caches.
