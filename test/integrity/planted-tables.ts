/** Bugs that are planted in Postgres: what a unique key or a careful update prevents. */

/** No unique key, and subscriptions that do not move on: a run that is taken up again invoices again. */
export const FORGET_WHAT_IS_BILLED = `
  DROP INDEX invoices_tenant_id_subscription_id_period_start_key;
  DROP INDEX invoices_tenant_id_subscription_id_period_end_key;
  ALTER TABLE billed_usage DROP CONSTRAINT billed_usage_pkey;
  CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$;
  CREATE TRIGGER subscriptions_stay BEFORE UPDATE ON subscriptions FOR EACH ROW EXECUTE FUNCTION stay();`

/** A run is noted as done before its effects: whoever dies on the way leaves nothing to take up. */
export const DONE_BEFORE_ITS_EFFECTS = `
  CREATE FUNCTION done_first() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.state = 'completed'; NEW.completed_at = now(); RETURN NEW; END $$;
  CREATE TRIGGER billing_runs_done_first BEFORE UPDATE ON billing_runs FOR EACH ROW EXECUTE FUNCTION done_first();`
export const DONE_AFTER_ITS_EFFECTS = 'DROP TRIGGER billing_runs_done_first ON billing_runs; DROP FUNCTION done_first'
