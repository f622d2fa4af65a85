-- The logs that events are written to; one is active. Written by: ops/migrate. Read by: ingest, aggregator.
-- A log keeps its number of partitions for ever: more partitions are a new log. Not tenant data. Breaking: no.
CREATE TABLE event_logs (
  topic text PRIMARY KEY CHECK (topic ~ '^[a-zA-Z0-9._-]{1,200}$'),
  partitions integer NOT NULL CHECK (partitions BETWEEN 1 AND 1024),
  active boolean NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX event_logs_active ON event_logs (active) WHERE active;
GRANT SELECT ON event_logs TO tallyline_app;
