-- Who knows the tax of what a legal entity sells. Compatible: an invoicer of before taxes by the engine of the house.

ALTER TABLE legal_entities
  ADD COLUMN tax_engine text NOT NULL DEFAULT 'embedded' CHECK (tax_engine IN ('embedded', 'stripe'));
GRANT UPDATE (tax_engine) ON legal_entities TO tallyline_app;
