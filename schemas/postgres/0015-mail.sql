-- Webhooks that go by mail. Breaking: no. A process of before uses up attempts at mailto URLs: replace all processes before
-- the first such webhook is put.

-- The addresses that have taken a delivery: an attempt after that goes to the others only. Empty where it goes by HTTP.
ALTER TABLE webhook_deliveries ADD COLUMN taken_by text[] NOT NULL DEFAULT '{}';
-- Copies of a delivery that were begun, in all its attempts and whatever came of them.
ALTER TABLE webhook_deliveries ADD COLUMN mailed integer NOT NULL DEFAULT 0 CHECK (mailed >= 0);
GRANT UPDATE (taken_by, mailed) ON webhook_deliveries TO tallyline_app;

-- How many mails a tenant had sent lately.
CREATE INDEX webhook_deliveries_mailed ON webhook_deliveries (tenant_id, ended_at) WHERE mailed > 0;
