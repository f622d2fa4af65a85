-- Seats and add-ons. Breaking: an invoicer from before bills a phase without its add-ons, and parks whoever is on a plan with
-- seats. Replace all of the invoicer, then use them.

-- Whether a plan can be subscribed to, or is added to one that is. It is the same in all versions of a plan.
ALTER TABLE plans ADD COLUMN kind text NOT NULL DEFAULT 'base' CHECK (kind IN ('base', 'add_on'));

-- A charge without a meter is a fee: a flat price, or a price of a quantity that is agreed, such as seats. `quantity` says
-- which one holds where none is, and between what it may lie: {"default": "1", "min": "1", "max": "50"}.
ALTER TABLE plan_charges ADD COLUMN quantity jsonb CHECK (jsonb_typeof(quantity) = 'object');
ALTER TABLE plan_charges DROP CONSTRAINT plan_charges_check;
ALTER TABLE plan_charges ADD CONSTRAINT plan_charges_check
  CHECK ((price ->> 'model' = 'flat') = (meter IS NULL AND quantity IS NULL) AND (meter IS NULL OR quantity IS NULL));

-- quantities: those that differ from the default of their charge, by its key: {"seats": "8"}. add_ons: plans that the phase
-- carries beside its own, each with how many of it: [{"planId": …, "quantity": "2"}]. Null: none, as of most.
ALTER TABLE subscription_phases
  ADD COLUMN quantities jsonb CHECK (jsonb_typeof(quantities) = 'object'),
  ADD COLUMN add_ons jsonb CHECK (jsonb_typeof(add_ons) = 'array');
