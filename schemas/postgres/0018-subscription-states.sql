-- Subscriptions are cancelled and end. Written by: invoicer. Read by: invoicer, ingest. Breaking: no, but processes of
-- ingest come first: one of before takes the entitlements of a plan from whoever has cancelled it.

ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_state_check;
ALTER TABLE subscriptions ADD CHECK (state IN ('active', 'cancelled', 'ended'));
-- One that is cancelled before it begins ends where it would have begun.
ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_check;
ALTER TABLE subscriptions ADD CHECK (end_at >= start_at);
-- Where its contract ends, once it is not active any more: until then that is end_at. A cancellation moves end_at.
ALTER TABLE subscriptions ADD COLUMN contract_end_at timestamptz;
-- Those whose last period is invoiced. Forced security hides all rows from the owner too, whoever is no superuser.
ALTER TABLE subscriptions NO FORCE ROW LEVEL SECURITY;
UPDATE subscriptions SET state = 'ended', contract_end_at = end_at WHERE next_period_start IS NULL;
ALTER TABLE subscriptions FORCE ROW LEVEL SECURITY;
GRANT UPDATE (state, end_at, contract_end_at) ON subscriptions TO tallyline_app;
