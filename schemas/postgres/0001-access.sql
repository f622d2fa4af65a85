-- Tenants and API keys. Written by: ops/access. Read by: every role, through the functions below.
-- Every table with a tenant_id has forced row-level security: the role tallyline_app sees the tenant that the
-- transaction named with set_config('app.tenant', …, true) and nothing else. Outside a transaction the setting
-- reads as empty text, hence NULLIF.

DO $$
BEGIN
  CREATE ROLE tallyline_app NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
GRANT tallyline_app TO CURRENT_USER;
GRANT USAGE ON SCHEMA public TO tallyline_app;

CREATE FUNCTION app_tenant() RETURNS integer LANGUAGE sql STABLE
AS $$ SELECT NULLIF(current_setting('app.tenant', true), '')::integer $$;

CREATE TABLE tenants (
  tenant_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  created_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_rows ON tenants TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant());
-- The functions below run as the owner, who need not be a superuser.
CREATE POLICY owner_rows ON tenants TO CURRENT_USER USING (true) WITH CHECK (true);

-- A key is tly_<public_id>_<secret>; only the SHA-256 of the whole text is kept.
CREATE TABLE api_keys (
  tenant_id integer NOT NULL REFERENCES tenants,
  public_id text NOT NULL,
  secret_sha256 bytea NOT NULL CHECK (length(secret_sha256) = 32),
  operator boolean NOT NULL DEFAULT false,
  permissions text[] NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  revoked_at timestamptz,
  PRIMARY KEY (public_id)
);
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_rows ON api_keys TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant());
CREATE POLICY owner_rows ON api_keys TO CURRENT_USER USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON api_keys TO tallyline_app;
GRANT SELECT ON tenants TO tallyline_app;

-- A key is looked up before its tenant is known.
CREATE FUNCTION find_api_key(wanted text)
RETURNS TABLE (tenant_id integer, slug text, public_id text, secret_sha256 bytea, operator boolean, permissions text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public
AS $$
  SELECT k.tenant_id, t.slug, k.public_id, k.secret_sha256, k.operator, k.permissions
  FROM api_keys k JOIN tenants t USING (tenant_id)
  WHERE k.public_id = wanted AND k.revoked_at IS NULL
$$;

CREATE FUNCTION list_tenants() RETURNS TABLE (tenant_id integer, slug text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public
AS $$ SELECT t.tenant_id, t.slug FROM tenants t ORDER BY t.tenant_id $$;

-- Idempotent: an existing slug answers its tenant.
CREATE FUNCTION put_tenant(wanted text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public
AS $$
DECLARE found integer;
BEGIN
  INSERT INTO tenants (slug) VALUES (wanted) ON CONFLICT (slug) DO NOTHING;
  SELECT t.tenant_id INTO found FROM tenants t WHERE t.slug = wanted;
  RETURN found;
END $$;

-- Whoever caches configuration listens on tallyline_config; the payload is '<table>:<tenant_id>'.
CREATE FUNCTION notify_config() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN PERFORM pg_notify('tallyline_config', TG_TABLE_NAME || ':' || NEW.tenant_id); RETURN NEW; END $$;
CREATE TRIGGER api_keys_notify AFTER INSERT OR UPDATE ON api_keys FOR EACH ROW EXECUTE FUNCTION notify_config();
