-- Who works on a revert, and what the log held when a void by filter began. Written by: ingest. Read by: ingest.
-- Breaking: no.

-- Grows with each claim of a revert: a process that was slower than its claim, and meets another at work, notes nothing
-- more.
ALTER TABLE backfills ADD COLUMN revert_claim bigint NOT NULL DEFAULT 0;

-- The ends of the log's partitions when the events were counted, and until when events of earlier logs were known: a
-- repeat looks at what lies before. Rows of before this migration say "all known before known_before", as they did.
ALTER TABLE filter_voids ADD COLUMN log_ends bigint[] NOT NULL DEFAULT '{}';
ALTER TABLE filter_voids ADD COLUMN earlier_logs_until timestamptz NOT NULL DEFAULT '2100-01-01Z';
