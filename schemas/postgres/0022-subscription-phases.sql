-- A subscription is a sequence of phases: trials, pauses, changes of plan. Breaking: processes from before bill a changed
-- subscription by the plan it began with. Replace all of the invoicer and ingest, then change plans.

-- Written by: invoicer. Read by: invoicer, ingest. Append-only: the phases that a subscription has at a revision; those of
-- its present one hold. A phase lasts until the next one begins, or the subscription ends. Before the first, and where
-- there is none, the subscription is active on its own plan, which is that of its start. All plans of a subscription have
-- its currency, and periods of the same length and alignment. What lies before next_period_start of the subscription is
-- the same in all later revisions: invoices were made from it.
CREATE TABLE subscription_phases (
  tenant_id integer NOT NULL,
  subscription_id uuid NOT NULL,
  revision integer NOT NULL CHECK (revision > 0),
  start_at timestamptz NOT NULL CHECK (date_trunc('minute', start_at, 'UTC') = start_at),
  plan_id uuid NOT NULL,
  kind text NOT NULL CHECK (kind IN ('active', 'trial', 'paused')),
  -- Whether fees and usage of the phase are billed.
  bills boolean NOT NULL,
  PRIMARY KEY (tenant_id, subscription_id, revision, start_at),
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions,
  FOREIGN KEY (tenant_id, plan_id) REFERENCES plans,
  CHECK (kind <> 'active' OR bills)
);

-- Written by: invoicer. Read by: invoicer. Append-only: changes of subscriptions by the idempotency key of their caller,
-- and what was answered. The same key again is answered the same, and changes nothing.
CREATE TABLE subscription_changes (
  tenant_id integer NOT NULL,
  subscription_id uuid NOT NULL,
  idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 256),
  change jsonb NOT NULL,
  answer jsonb NOT NULL,
  at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, subscription_id, idempotency_key),
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions
);

-- Raised by every change, phases included; an invoice is issued as rated only where it stands as it was read. At 0 there
-- are no phases, so that runs need not look for them. Until here every change moved end_at or the state.
ALTER TABLE subscriptions ADD COLUMN revision integer NOT NULL DEFAULT 0 CHECK (revision >= 0);
-- A trial or a pause is a phase, not a state. past_due is for dunning.
ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_state_check;
ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_state_check
  CHECK (state IN ('active', 'past_due', 'cancelled', 'ended'));

-- Whose charge it is, where that is not the plan of the invoice: then the period has more than one.
ALTER TABLE invoice_lines ADD COLUMN plan_id uuid;

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['subscription_phases', 'subscription_changes'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_rows ON %I TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())', name);
  END LOOP;
END $$;
GRANT SELECT, INSERT ON subscription_phases, subscription_changes TO tallyline_app;
GRANT UPDATE (revision) ON subscriptions TO tallyline_app;
