-- Who sees what (HC-8): a key may be confined to one customer's usage or to some subjects'. Breaking: no; the keys that
-- stand see everything in their tenant, as before. Written by: ops/access. Read by: ops/access, through the function.

ALTER TABLE api_keys
  ADD COLUMN scope_customer_id uuid,
  ADD COLUMN scope_subjects text[],
  ADD FOREIGN KEY (tenant_id, scope_customer_id) REFERENCES customers,
  ADD CONSTRAINT api_keys_one_scope CHECK (num_nonnulls(scope_customer_id, scope_subjects) <= 1),
  ADD CONSTRAINT api_keys_operators_see_all CHECK (NOT operator OR num_nonnulls(scope_customer_id, scope_subjects) = 0),
  ADD CONSTRAINT api_keys_scope_subjects CHECK (
    cardinality(scope_subjects) BETWEEN 1 AND 100 AND array_position(scope_subjects, NULL) IS NULL
  );

-- A key never becomes more than it was made as: it can be revoked, and nothing else of it changes.
REVOKE UPDATE ON api_keys FROM tallyline_app;
GRANT UPDATE (revoked_at) ON api_keys TO tallyline_app;

-- A process that is older than scopes, still running beside new ones, must not take a confined key for one that sees all.
CREATE OR REPLACE FUNCTION find_api_key(wanted text)
RETURNS TABLE (tenant_id integer, slug text, public_id text, secret_sha256 bytea, operator boolean, permissions text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public
AS $$
  SELECT k.tenant_id, t.slug, k.public_id, k.secret_sha256, k.operator, k.permissions
  FROM api_keys k JOIN tenants t USING (tenant_id)
  WHERE k.public_id = wanted AND k.revoked_at IS NULL
    AND k.scope_customer_id IS NULL AND k.scope_subjects IS NULL
$$;

CREATE FUNCTION find_scoped_api_key(wanted text)
RETURNS TABLE (
  tenant_id integer, slug text, public_id text, secret_sha256 bytea, operator boolean, permissions text[],
  scope_customer_id uuid, scope_subjects text[]
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public
AS $$
  SELECT k.tenant_id, t.slug, k.public_id, k.secret_sha256, k.operator, k.permissions,
    k.scope_customer_id, k.scope_subjects
  FROM api_keys k JOIN tenants t USING (tenant_id)
  WHERE k.public_id = wanted AND k.revoked_at IS NULL
$$;
