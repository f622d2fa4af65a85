-- Kafka as a door: topics that tenants' own producers write, and what of them was not taken. Breaking: no.

-- Written by: ingest. Read by: ingest. A topic belongs to one tenant, whatever its records say.
CREATE TABLE kafka_inputs (
  tenant_id integer NOT NULL REFERENCES tenants,
  topic text NOT NULL UNIQUE CHECK (topic ~ '^[a-zA-Z0-9._-]{1,249}$'),
  format text NOT NULL CHECK (format IN ('json', 'avro')),
  -- The Avro schemas whose ids records may have, and how a record of each becomes an event.
  schemas jsonb NOT NULL,
  backfill boolean NOT NULL,
  paused boolean NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, topic)
);

-- Written by: ingest. Read by: ingest. An event of a record that was refused, or a whole record (event_index -1), by its
-- place: found again after a crash it is the same row. `topic_id` tells topics of one name apart.
CREATE TABLE kafka_input_rejections (
  tenant_id integer NOT NULL,
  topic text NOT NULL,
  topic_id uuid NOT NULL,
  partition integer NOT NULL,
  record_offset bigint NOT NULL,
  event_index integer NOT NULL,
  -- The last of the records that the row stands for.
  last_offset bigint NOT NULL,
  -- How many events the row stands for: more than one for the last row of a record with very many.
  events integer NOT NULL,
  event_id text,
  code text NOT NULL,
  path text NOT NULL,
  message text NOT NULL,
  -- The first bytes of the event as JSON, or of the record; and how many there were.
  excerpt bytea NOT NULL CHECK (length(excerpt) <= 2048),
  value_bytes integer NOT NULL,
  rejected_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, topic, topic_id, partition, record_offset, event_index),
  FOREIGN KEY (tenant_id, topic) REFERENCES kafka_inputs (tenant_id, topic)
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['kafka_inputs', 'kafka_input_rejections'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_rows ON %I TO tallyline_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())', name);
  END LOOP;
END $$;
-- The function below runs as the owner, who need not be a superuser.
CREATE POLICY owner_rows ON kafka_inputs TO CURRENT_USER USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON kafka_inputs TO tallyline_app;
-- What is read again and taken then is not refused any more.
GRANT SELECT, INSERT, DELETE ON kafka_input_rejections TO tallyline_app;
CREATE TRIGGER kafka_inputs_notify AFTER INSERT OR UPDATE ON kafka_inputs
  FOR EACH ROW EXECUTE FUNCTION notify_config();

-- The inputs that are to be read, of all tenants: asked every few seconds, so not tenant by tenant.
CREATE FUNCTION active_kafka_inputs()
RETURNS TABLE (tenant_id integer, slug text, topic text, format text, schemas jsonb, backfill boolean, updated_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public
AS $$
  SELECT i.tenant_id, t.slug, i.topic, i.format, i.schemas, i.backfill, i.updated_at
  FROM kafka_inputs i JOIN tenants t USING (tenant_id)
  WHERE NOT i.paused ORDER BY i.topic
$$;
