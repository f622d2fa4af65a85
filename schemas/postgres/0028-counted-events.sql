-- Prices by the properties of events, and what lines list of them. Breaking: an invoicer from before refuses plans whose
-- prices need single events, and parks whoever is on one. Replace all of the invoicer, then make such plans.

-- What the line of a charge lists of its events, such as payer and code (HC-13): paths inside their data. Empty: nothing.
ALTER TABLE plan_charges ADD COLUMN attributes text[] CHECK (cardinality(attributes) BETWEEN 1 AND 5);

-- What the events of a line came to for its price and by its attributes, where it needs more than quantity and number: it
-- is rated again from this.
ALTER TABLE billed_usage ADD COLUMN counted jsonb;
