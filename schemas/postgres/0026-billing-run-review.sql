-- Billing runs that are looked at before they bill: dry runs, comparison with the period before, approval; and runs that
-- are cancelled, or try again what another one has parked. Breaking: an invoicer from before bills dry runs and what
-- waits for approval. Replace all invoicer processes first; without settings runs bill at once, as before.

-- `awaiting_approval`: its drafts are complete, nothing is billed, and somebody is to approve or cancel it. A cancelled run
-- has ended as a completed one has; it bills nothing any more.
ALTER TABLE billing_runs DROP CONSTRAINT billing_runs_state_check;
DO $$
DECLARE name text;
BEGIN
  SELECT conname INTO STRICT name FROM pg_constraint
  WHERE conrelid = 'billing_runs'::regclass AND contype = 'c'
    AND pg_get_constraintdef(oid) LIKE '%completed_at IS NOT NULL%';
  EXECUTE format('ALTER TABLE billing_runs DROP CONSTRAINT %I', name);
END $$;
ALTER TABLE billing_runs
  -- Bills nothing, whatever its state.
  ADD COLUMN dry_run boolean NOT NULL DEFAULT false,
  -- It tries again what this run has parked, and bills nobody else.
  ADD COLUMN retries_run uuid,
  -- How far its drafts are written: what is being drafted, and the last subscription of that.
  ADD COLUMN review_part text CHECK (review_part IN ('again', 'waiting', 'late', 'due', 'missing', 'done')),
  ADD COLUMN review_after uuid,
  -- When it was settled that it may bill: by approval, or because it needs none. Never taken back.
  ADD COLUMN released_at timestamptz,
  ADD COLUMN approved_by text,
  ADD COLUMN cancelled_by text,
  -- Of a cancelled run: since when what it issued is to be charged all the same, and when it was.
  ADD COLUMN collect_asked_at timestamptz,
  ADD COLUMN collected_at timestamptz,
  -- When it came to its first invoice, which is where its rate is counted from.
  ADD COLUMN billing_since timestamptz,
  ADD CONSTRAINT billing_runs_state_check
    CHECK (state IN ('running', 'awaiting_approval', 'completed', 'failed', 'cancelled')),
  ADD CONSTRAINT billing_runs_ended_check CHECK ((state IN ('completed', 'cancelled')) = (completed_at IS NOT NULL)),
  ADD CONSTRAINT billing_runs_awaiting_check CHECK (state <> 'awaiting_approval' OR (review_part = 'done' AND NOT dry_run)),
  ADD CONSTRAINT billing_runs_approved_check CHECK (approved_by IS NULL OR released_at IS NOT NULL),
  ADD CONSTRAINT billing_runs_cancelled_check CHECK ((cancelled_by IS NOT NULL) = (state = 'cancelled')),
  ADD CONSTRAINT billing_runs_collect_check CHECK (collect_asked_at IS NULL OR state = 'cancelled'),
  ADD CONSTRAINT billing_runs_retries_fkey FOREIGN KEY (tenant_id, retries_run) REFERENCES billing_runs;
CREATE INDEX billing_runs_retries ON billing_runs (tenant_id, retries_run, id) WHERE retries_run IS NOT NULL;
GRANT UPDATE (review_part, review_after, released_at, approved_by, cancelled_by, billing_since,
  collect_asked_at, collected_at)
  ON billing_runs TO tallyline_app;

-- Whether the gateway may have heard of an attempt: noted before it is asked, and taken for true of those from before. What was
-- never sent is withdrawn behind the cancellation of its run, so that its invoice can be voided, credited or charged anew.
ALTER TABLE payments DROP CONSTRAINT payments_state_check;
ALTER TABLE payments
  ADD COLUMN is_sent boolean NOT NULL DEFAULT true,
  ADD CONSTRAINT payments_state_check CHECK (state IN ('created', 'succeeded', 'declined', 'unknown', 'withdrawn')),
  ADD CONSTRAINT payments_withdrawn_check CHECK (state <> 'withdrawn' OR NOT is_sent);
GRANT UPDATE (is_sent) ON payments TO tallyline_app;

-- Whether the period was due when it was parked, and not billed before: what came late for it is tried again by every run.
ALTER TABLE parked_subscriptions ADD COLUMN is_due boolean NOT NULL DEFAULT true;

-- Written by: invoicer. Read by: invoicer. Append-only: what a run would bill, written before it bills anything. One row an
-- invoice; one for each subscription that would be parked; one for each that was billed before, and from which nothing
-- comes any more. `previous_minor` is the total of the period before, null where there is none.
CREATE TABLE billing_run_drafts (
  tenant_id integer NOT NULL,
  id uuid NOT NULL,
  billing_run_id uuid NOT NULL,
  kind text NOT NULL CHECK (kind IN ('invoice', 'parked', 'missing')),
  subscription_id uuid NOT NULL,
  customer_id uuid NOT NULL,
  currency char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  period_start timestamptz NOT NULL,
  -- Null where it is not known: what would be parked may have no calendar.
  period_end timestamptz CHECK (period_end > period_start),
  off_cycle boolean NOT NULL,
  line_count integer NOT NULL CHECK (line_count >= 0),
  amount_minor bigint NOT NULL,
  previous_minor bigint,
  -- numeric: a difference of two amounts may be beyond bigint.
  change_minor numeric(20, 0) NOT NULL,
  anomalies text[] NOT NULL,
  reason text,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, billing_run_id) REFERENCES billing_runs,
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions,
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers,
  CHECK (change_minor = amount_minor::numeric - coalesce(previous_minor, 0)),
  CHECK (kind = 'invoice' OR amount_minor = 0),
  CHECK (kind <> 'missing' OR previous_minor IS NOT NULL),
  CHECK ((kind = 'parked') = (reason IS NOT NULL))
);
-- Lists are in the order of size.
CREATE INDEX billing_run_drafts_size ON billing_run_drafts (tenant_id, billing_run_id, (-abs(change_minor)), id);
CREATE INDEX billing_run_drafts_subscription ON billing_run_drafts (tenant_id, billing_run_id, subscription_id);

-- Written by: invoicer. Read by: invoicer. Which runs need an approval, and what is an anomaly. A tenant without a row has
-- the defaults, by which no run needs one.
CREATE TABLE billing_run_settings (
  tenant_id integer PRIMARY KEY REFERENCES tenants,
  approval text NOT NULL CHECK (approval IN ('never', 'on_anomaly', 'always')),
  rules jsonb NOT NULL,
  updated_at timestamptz NOT NULL
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['billing_run_drafts', 'billing_run_settings'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_rows ON %I TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())', name);
  END LOOP;
END $$;
GRANT SELECT, INSERT ON billing_run_drafts, billing_run_settings TO tallyline_app;
GRANT UPDATE (approval, rules, updated_at) ON billing_run_settings TO tallyline_app;
