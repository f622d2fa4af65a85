-- Fewer and cheaper writes per invoice (decision 0005). Breaking: no; what stands stays.
-- An invoice comes after its lines, because drawing its number is the last statement of their transaction.
ALTER TABLE invoice_lines ALTER CONSTRAINT invoice_lines_tenant_id_invoice_id_fkey DEFERRABLE INITIALLY DEFERRED;

-- The history has no foreign keys: five to check for each of an invoice's events cost as much as the event, and say what
-- the transaction they all stand in says already. Nothing is ever deleted.
ALTER TABLE billing_events
  DROP CONSTRAINT billing_events_tenant_id_fkey,
  DROP CONSTRAINT billing_events_tenant_id_customer_id_fkey,
  DROP CONSTRAINT billing_events_tenant_id_subscription_id_fkey,
  DROP CONSTRAINT billing_events_tenant_id_invoice_id_fkey,
  DROP CONSTRAINT billing_events_tenant_id_billing_run_id_fkey;

-- Written by: invoicer. Read by: invoicer. Events that others are told of, in the transaction of the event; delivery
-- comes later. It names an event of the history and does not repeat it; the one before it was never delivered from.
DROP TABLE outbox;
CREATE TABLE outbox (
  tenant_id integer NOT NULL,
  event_id uuid NOT NULL,
  delivered_at timestamptz,
  PRIMARY KEY (tenant_id, event_id)
);
CREATE INDEX outbox_waiting ON outbox (tenant_id, event_id) WHERE delivered_at IS NULL;
ALTER TABLE outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_rows ON outbox TO tallyline_app
  USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant());
GRANT SELECT, INSERT, UPDATE (delivered_at) ON outbox TO tallyline_app;
