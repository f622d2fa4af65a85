-- Customers below others, who may pay for them, and one invoice for all that a customer pays of a run. Written by: invoicer.
-- Read by: invoicer. Breaking: replace all invoicer processes, then name parents and consolidate: one of before issues to
-- the customer itself, charges what is part of another invoice, and continues no run that left such parts.

-- `parent_id` says under whom a customer stands, at most five levels deep, never in a circle. `payer_id` is who pays in the
-- end, null: itself. It follows from `pays` of all above, and is kept by whoever changes one of them.
ALTER TABLE customers
  ADD COLUMN parent_id uuid,
  ADD COLUMN pays text NOT NULL DEFAULT 'self',
  ADD COLUMN payer_id uuid,
  -- What a run issues to it becomes one invoice for each currency and legal entity.
  ADD COLUMN consolidates boolean NOT NULL DEFAULT false,
  ADD CONSTRAINT customers_parent FOREIGN KEY (tenant_id, parent_id) REFERENCES customers,
  ADD CONSTRAINT customers_payer FOREIGN KEY (tenant_id, payer_id) REFERENCES customers,
  ADD CONSTRAINT customers_not_own_parent CHECK (parent_id <> id AND payer_id <> id),
  ADD CONSTRAINT customers_pays CHECK (pays IN ('self', 'parent') AND (pays = 'self' OR parent_id IS NOT NULL)),
  ADD CONSTRAINT customers_payer_pays CHECK ((pays = 'self') = (payer_id IS NULL));
CREATE INDEX customers_below ON customers (tenant_id, parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX customers_paid_for ON customers (tenant_id, payer_id) WHERE payer_id IS NOT NULL;
GRANT UPDATE (parent_id, pays, payer_id, consolidates) ON customers TO tallyline_app;

-- A part has no number, and nothing is due of it: credit, balance, payment and credit notes are matters of the invoice that
-- gathers it. Amounts of an invoice never change behind its issuing, so a void one need not be looked at again.
ALTER TABLE invoices
  DROP CONSTRAINT invoices_state_check,
  ADD CONSTRAINT invoices_state_check
    CHECK (state IN ('draft', 'finalised', 'paid', 'void', 'uncollectible', 'suppressed', 'part')),
  DROP CONSTRAINT invoices_numbered,
  ADD CONSTRAINT invoices_numbered
    CHECK (state = 'void' OR (state IN ('draft', 'suppressed', 'part')) = (number IS NULL)),
  DROP CONSTRAINT invoices_amount_due,
  ADD CONSTRAINT invoices_amount_due CHECK (state IN ('part', 'void')
    OR total_minor - credit_minor - balance_minor + carried_in_minor - carried_out_minor = amount_due_minor),
  ADD CONSTRAINT invoices_nothing_due_of_parts CHECK (state <> 'part'
    OR (amount_due_minor = 0 AND credit_minor = 0 AND balance_minor = 0 AND credited_minor = 0));

-- What is to become a part of one invoice of its run for its payer, and of which it did, from which line on. Those two are
-- set once, by whoever gathers it; until then nobody is shown it.
CREATE TABLE invoice_parts (
  tenant_id integer NOT NULL,
  invoice_id uuid NOT NULL,
  billing_run_id uuid NOT NULL,
  line_count integer NOT NULL CHECK (line_count >= 0),
  consolidated_id uuid,
  first_line integer CHECK (first_line >= 0),
  PRIMARY KEY (tenant_id, invoice_id),
  CONSTRAINT invoice_parts_invoice FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoices DEFERRABLE INITIALLY DEFERRED,
  CONSTRAINT invoice_parts_consolidated FOREIGN KEY (tenant_id, consolidated_id) REFERENCES invoices
    DEFERRABLE INITIALLY DEFERRED,
  CONSTRAINT invoice_parts_gathered CHECK ((consolidated_id IS NULL) = (first_line IS NULL))
);
CREATE INDEX invoice_parts_waiting ON invoice_parts (tenant_id, billing_run_id) WHERE consolidated_id IS NULL;
CREATE INDEX invoice_parts_of ON invoice_parts (tenant_id, consolidated_id, first_line) WHERE consolidated_id IS NOT NULL;

-- A note on one invoice may take lines of several of its parts back.
ALTER TABLE credit_note_lines
  DROP CONSTRAINT credit_note_lines_pkey,
  ADD CONSTRAINT credit_note_lines_pkey PRIMARY KEY (tenant_id, credit_note_id, invoice_id, line_index);

ALTER TABLE invoice_parts ENABLE ROW LEVEL SECURITY;
ALTER TABLE invoice_parts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_rows ON invoice_parts TO tallyline_app
  USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant());
GRANT SELECT, INSERT ON invoice_parts TO tallyline_app;
GRANT UPDATE (consolidated_id, first_line) ON invoice_parts TO tallyline_app;
