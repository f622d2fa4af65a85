-- Products: what plans and one-time prices are of, so that they are found together; and which plans are archived. Written by:
-- invoicer. Read by: invoicer. Compatible: an invoicer from before lets subscriptions begin with archived plans.

-- `archived_at`: nothing new of it is sold from then on; what is subscribed to goes on.
CREATE TABLE products (
  tenant_id integer NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  key text NOT NULL CHECK (length(key) BETWEEN 1 AND 256),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 512),
  description text CHECK (length(description) BETWEEN 1 AND 4000),
  -- Texts by name, for whoever sells it.
  metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
  -- What a unit costs that is sold once, a decimal by currency. Items keep the price that they were made with.
  prices jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(prices) = 'object'),
  archived_at timestamptz,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  CONSTRAINT products_key UNIQUE (tenant_id, key)
);

-- How a plan stands in the catalogue, in all its versions: which product it is of, and whether it is archived, so that no
-- subscription begins with it or moves to it. A plan without a row is of none and not archived.
CREATE TABLE plan_listings (
  tenant_id integer NOT NULL REFERENCES tenants,
  plan_key text NOT NULL CHECK (length(plan_key) BETWEEN 1 AND 256),
  product_id uuid,
  archived_at timestamptz,
  PRIMARY KEY (tenant_id, plan_key),
  FOREIGN KEY (tenant_id, product_id) REFERENCES products
);
CREATE INDEX plan_listings_product ON plan_listings (tenant_id, product_id);

-- The product whose one-time price an item was made with.
ALTER TABLE invoice_items ADD COLUMN product_key text CHECK (length(product_key) BETWEEN 1 AND 256);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['products', 'plan_listings'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_rows ON %I TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())', name);
  END LOOP;
END $$;
GRANT SELECT, INSERT ON products, plan_listings TO tallyline_app;
GRANT UPDATE (name, description, metadata, prices, archived_at) ON products TO tallyline_app;
GRANT UPDATE (product_id, archived_at) ON plan_listings TO tallyline_app;
