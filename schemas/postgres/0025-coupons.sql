-- Coupons, the discounts that customers and subscriptions have by them, and what invoices took off. Written by: invoicer.
-- Read by: invoicer. Breaking: an invoicer from before bills without discounts. Replace all of them, then give discounts.

-- A row says what comes off, and never changes but for these two: `redemptions` counts the discounts given by it, raised
-- by whoever gives one while it holds the row; `archived_at`: from then on none is given.
CREATE TABLE coupons (
  tenant_id integer NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  key text NOT NULL CHECK (length(key) BETWEEN 1 AND 256),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
  percent numeric(15, 12) CHECK (percent > 0 AND percent <= 100),
  amount_minor bigint CHECK (amount_minor > 0),
  currency char(3) CHECK (currency ~ '^[A-Z]{3}$'),
  -- How many invoices of a subscription it lasts, one for each period; null: for ever.
  cycles integer CHECK (cycles >= 1),
  -- Whose lines it lowers; null: all lines of the invoice.
  charge_keys text[] CHECK (cardinality(charge_keys) >= 1),
  redeem_by timestamptz,
  max_redemptions integer CHECK (max_redemptions >= 1),
  redemptions integer NOT NULL DEFAULT 0 CHECK (redemptions >= 0 AND (max_redemptions IS NULL OR redemptions <= max_redemptions)),
  archived_at timestamptz,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, key),
  CHECK (num_nonnulls(percent, amount_minor) = 1),
  CHECK ((amount_minor IS NULL) = (currency IS NULL))
);

-- Append-only: a coupon given to a subscription or, where none is named, to all of the customer's. It lowers the invoice of
-- a period at whose end it is in force: from `start_at` until its end (discount_ends).
CREATE TABLE discounts (
  tenant_id integer NOT NULL,
  id uuid NOT NULL,
  external_key text NOT NULL CHECK (length(external_key) BETWEEN 1 AND 256),
  coupon_id uuid NOT NULL,
  customer_id uuid NOT NULL,
  subscription_id uuid,
  start_at timestamptz NOT NULL CHECK (date_trunc('minute', start_at, 'UTC') = start_at),
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, external_key),
  FOREIGN KEY (tenant_id, coupon_id) REFERENCES coupons,
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers,
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions
);
CREATE INDEX discounts_customer ON discounts (tenant_id, customer_id, id);
-- A run asks for those of its subscriptions, and for their customers' own: of many of one customer not for the rest.
CREATE INDEX discounts_subscription ON discounts (tenant_id, subscription_id);
CREATE INDEX discounts_all_of_customer ON discounts (tenant_id, customer_id) WHERE subscription_id IS NULL;

-- Append-only: from when on a discount is over. Runs whose W is before `created_at` do not know of it.
CREATE TABLE discount_ends (
  tenant_id integer NOT NULL,
  discount_id uuid NOT NULL,
  end_at timestamptz NOT NULL CHECK (date_trunc('minute', end_at, 'UTC') = end_at),
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, discount_id),
  FOREIGN KEY (tenant_id, discount_id) REFERENCES discounts
);

-- Append-only: which discounts an invoice has, the how-many-th of its subscription it is for each (null where that lasts for
-- ever), and what each took off: 0 where there was nothing to take from. Cycles are the times that stand here, so each counts once: due_at is the end of the
-- invoice's period or, of fees in advance on an invoice of their own, behind the minute in which they are due.
CREATE TABLE invoice_discounts (
  tenant_id integer NOT NULL,
  invoice_id uuid NOT NULL,
  discount_id uuid NOT NULL,
  subscription_id uuid NOT NULL,
  due_at timestamptz NOT NULL,
  cycle integer CHECK (cycle >= 1),
  amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
  PRIMARY KEY (tenant_id, invoice_id, discount_id),
  -- Invoices come last, because drawing their numbers is the last statement of what makes them.
  FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoices DEFERRABLE INITIALLY DEFERRED,
  FOREIGN KEY (tenant_id, discount_id) REFERENCES discounts
);
CREATE INDEX invoice_discounts_cycles ON invoice_discounts (tenant_id, discount_id, subscription_id, due_at);

-- Of a line below 0 that a discount made: the discount, and which line of the invoice it lowers.
ALTER TABLE invoice_lines
  ADD COLUMN discount_id uuid,
  ADD COLUMN lowers_line smallint,
  ADD CONSTRAINT invoice_lines_discount CHECK (
    (discount_id IS NULL) = (lowers_line IS NULL) AND (discount_id IS NULL OR (amount_minor < 0 AND lowers_line < line_index)));

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['coupons', 'discounts', 'discount_ends', 'invoice_discounts'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_rows ON %I TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())', name);
  END LOOP;
END $$;
GRANT SELECT, INSERT ON coupons, discounts, discount_ends, invoice_discounts TO tallyline_app;
GRANT UPDATE (redemptions, archived_at) ON coupons TO tallyline_app;
