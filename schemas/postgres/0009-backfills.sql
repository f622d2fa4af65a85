-- Backfills: bulk imports that can be reverted as a whole. Written by: ingest. Read by: ingest. Breaking: no.
-- A backfill owns a source of its own: its events are those under that source.
CREATE TABLE backfills (
  tenant_id integer NOT NULL REFERENCES tenants,
  backfill_id uuid NOT NULL,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
  source text NOT NULL CHECK (source ~ '^backfill:.'),
  state text NOT NULL CHECK (state IN ('open', 'closed', 'reverting', 'reverted')),
  opened_at timestamptz NOT NULL,
  closed_at timestamptz,
  -- Copies by outcome, as they were answered: a copy sent again is counted again.
  accepted bigint NOT NULL DEFAULT 0,
  duplicate bigint NOT NULL DEFAULT 0,
  rejected bigint NOT NULL DEFAULT 0,
  -- Who asked for the revert and when: part of its operations, so that a repeat makes the same ones.
  revert_asked_at timestamptz,
  revert_asked_by text,
  reverted_at timestamptz,
  -- Identities voided so far, and the last of them in the order of (shard, id): where the revert goes on.
  voided bigint NOT NULL DEFAULT 0,
  voided_shard bigint,
  voided_id text,
  -- Until then one process works on the revert.
  revert_claimed_until timestamptz,
  PRIMARY KEY (tenant_id, backfill_id),
  UNIQUE (tenant_id, source)
);
ALTER TABLE backfills ENABLE ROW LEVEL SECURITY;
ALTER TABLE backfills FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_rows ON backfills TO tallyline_app
  USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant());
-- The function below runs as the owner, who need not be a superuser.
CREATE POLICY owner_rows ON backfills TO CURRENT_USER USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON backfills TO tallyline_app;
CREATE INDEX backfills_reverting ON backfills (tenant_id) WHERE state = 'reverting';

-- Reverts that nobody works on, of all tenants: asked every few seconds, so not tenant by tenant.
CREATE FUNCTION waiting_reverts() RETURNS TABLE (tenant_id integer, backfill_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public
AS $$
  SELECT b.tenant_id, b.backfill_id FROM backfills b
  WHERE b.state = 'reverting' AND (b.revert_claimed_until IS NULL OR b.revert_claimed_until < now())
$$;
