-- Recurring fees in advance. Breaking: an invoicer from before bills the fees of such a plan in arrears, and once more than
-- what was billed in advance. Replace all of the invoicer, then create plans that are billed in advance.

-- When the fees of a plan (its flat prices without a meter) are billed: with the end of the period before, or with that of
-- their own. Plans from before are in arrears.
ALTER TABLE plans ADD COLUMN fees text NOT NULL DEFAULT 'in_arrears' CHECK (fees IN ('in_advance', 'in_arrears'));

-- fees_due_at: when fees of the next period are due on an invoice of their own, because none before could have them: at the
-- start, the end of a trial, the resumption in a period that was to be free. Null once they are billed, and where the
-- invoice of the period before has them. It moves with next_period_*, in the transaction that writes the invoice.
-- fees_until: up to when fees are owed though the subscription ends before: cancelled at once without giving any back.
ALTER TABLE subscriptions
  ADD COLUMN fees_due_at timestamptz CHECK (date_trunc('minute', fees_due_at, 'UTC') = fees_due_at),
  ADD COLUMN fees_until timestamptz CHECK (date_trunc('minute', fees_until, 'UTC') = fees_until);
ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_fees_due_check
  CHECK (fees_due_at IS NULL OR (next_period_start IS NOT NULL AND fees_due_at >= next_period_start));
CREATE INDEX subscriptions_fees_due ON subscriptions (tenant_id, fees_due_at) WHERE fees_due_at IS NOT NULL;
GRANT UPDATE (fees_due_at, fees_until) ON subscriptions TO tallyline_app;

-- From when on the periods of the phase recur: a phase whose plan has other periods than the one before begins with a new
-- period, and cuts the one that runs. Empty, in rows from before: from the start of the subscription.
ALTER TABLE subscription_phases ADD COLUMN anchor_at timestamptz;

-- Written by: invoicer. Read by: invoicer. Append-only: lines that billed, or gave back, fees of a period in advance, in the
-- transaction that writes the line. Fees of a period as they are now less the sum of these is what is still to be billed.
-- period_* is the period of the fees as it was then, and revision that of the subscription, whose phases say what was billed.
CREATE TABLE billed_fees (
  tenant_id integer NOT NULL,
  invoice_id uuid NOT NULL,
  line_index smallint NOT NULL,
  subscription_id uuid NOT NULL,
  plan_id uuid NOT NULL,
  charge_key text NOT NULL,
  period_start timestamptz NOT NULL,
  period_end timestamptz NOT NULL CHECK (period_end > period_start),
  revision integer NOT NULL CHECK (revision >= 0),
  amount_minor bigint NOT NULL,
  PRIMARY KEY (tenant_id, invoice_id, line_index),
  FOREIGN KEY (tenant_id, invoice_id, line_index) REFERENCES invoice_lines,
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions,
  FOREIGN KEY (tenant_id, plan_id) REFERENCES plans
);
CREATE INDEX billed_fees_period ON billed_fees (tenant_id, subscription_id, period_start);

ALTER TABLE billed_fees ENABLE ROW LEVEL SECURITY;
ALTER TABLE billed_fees FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_rows ON billed_fees TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant());
GRANT SELECT, INSERT ON billed_fees TO tallyline_app;
