-- Invoice lines come before their invoices, so that only the commit can tell whether these are there: the last reference of
-- an invoice that was looked up row by row (0037). At the commit it is looked up once a statement. Breaking: no; where invoices
-- are issued meanwhile one of the two may be ended as a deadlock, which leaves nothing: start it again.
-- Nothing that is referred to is ever deleted or changed, as there. And the plan of a foreign key is made once a connection:
-- made while there were hardly any invoices it read all of a tenant's for a line. This one is made each time.

-- Written by: the triggers below. Read by: them. What lines of a statement wait for; it is gone by the end of its transaction.
CREATE TABLE invoices_awaited (
  tenant_id integer NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  invoice_ids uuid[] NOT NULL,
  PRIMARY KEY (tenant_id, id)
);
ALTER TABLE invoices_awaited ENABLE ROW LEVEL SECURITY;
ALTER TABLE invoices_awaited FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_rows ON invoices_awaited TO tallyline_app
  USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant());
GRANT SELECT, INSERT, DELETE ON invoices_awaited TO tallyline_app;

CREATE FUNCTION await_invoices_of_lines() RETURNS trigger LANGUAGE plpgsql
AS $$
BEGIN
  INSERT INTO invoices_awaited (tenant_id, invoice_ids)
  SELECT tenant_id, array_agg(DISTINCT invoice_id) FROM added GROUP BY tenant_id;
  RETURN NULL;
END $$;

-- OFFSET 0: a look by the primary key for each. As a join it would read all invoices of the tenant, which a table that was not
-- analysed yet seems to have one of.
CREATE FUNCTION refuse_lines_of_nothing() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
  IF EXISTS (
    SELECT FROM unnest(NEW.invoice_ids) AS l (invoice_id)
    WHERE NOT EXISTS (SELECT FROM invoices i WHERE i.tenant_id = NEW.tenant_id AND i.id = l.invoice_id OFFSET 0)
  ) THEN
    RAISE foreign_key_violation USING CONSTRAINT = 'invoice_lines_references', TABLE = 'invoice_lines',
      MESSAGE = 'an invoice line refers to an invoice of its tenant that is not there';
  END IF;
  DELETE FROM invoices_awaited WHERE tenant_id = NEW.tenant_id AND id = NEW.id;
  RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER invoices_awaited_are_there AFTER INSERT ON invoices_awaited
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_lines_of_nothing();
CREATE TRIGGER invoice_lines_references AFTER INSERT ON invoice_lines
  REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION await_invoices_of_lines();

ALTER TABLE invoice_lines DROP CONSTRAINT invoice_lines_tenant_id_invoice_id_fkey;
