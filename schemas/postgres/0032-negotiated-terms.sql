-- Negotiated terms of customers: private versions of plans, ramps, terms that renew. Breaking: an invoicer from before cannot
-- create plans, and takes a private version for one of the catalogue. Replace all of the invoicer, then negotiate.

-- Written by: invoicer. Read by: invoicer, ingest. A row with base_plan_id is a private version: what was agreed with the
-- customer agreed_for, derived from that version of the catalogue, whose key, number and date it has, so that entitlements
-- by key hold for it. It is in no catalogue, and nobody else is subscribed to it.
ALTER TABLE plans DROP CONSTRAINT plans_version_key;
ALTER TABLE plans
  ADD COLUMN base_plan_id uuid,
  ADD COLUMN agreed_for uuid,
  ADD CONSTRAINT plans_agreed_check CHECK ((base_plan_id IS NULL) = (agreed_for IS NULL)),
  ADD CONSTRAINT plans_base_fkey FOREIGN KEY (tenant_id, base_plan_id) REFERENCES plans,
  ADD CONSTRAINT plans_agreed_for_fkey FOREIGN KEY (tenant_id, agreed_for) REFERENCES customers;
CREATE UNIQUE INDEX plans_version_key ON plans (tenant_id, key, version) WHERE base_plan_id IS NULL;
CREATE INDEX plans_agreed_for ON plans (tenant_id, agreed_for, base_plan_id) WHERE base_plan_id IS NOT NULL;

-- What was agreed as the subscription was created, as the invoicer spells it: overrides, phases, term. It never changes; what
-- holds by now say its phases and their plans. Empty: nothing beside the plan.
ALTER TABLE subscriptions ADD COLUMN agreed_terms jsonb;
