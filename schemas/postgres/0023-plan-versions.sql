-- Plans get versions, multiples of intervals, quarters and half years, and a basis of proration. What stands is version 1,
-- every 1, by seconds. Breaking: an invoicer from before cannot create plans any more, bills a plan with a multiple by
-- single intervals, and prorates by seconds; an ingest from before counts a billing period by single intervals. Replace
-- all, then use them.

-- Written by: invoicer. Read by: invoicer, ingest. A row is a version of a plan and never changes once it is stored; a
-- subscription stays on its row until it is changed to another. `effective_from`: subscriptions that begin from then on
-- take this version; that of version 1 is empty: always. Later versions take effect no earlier than those before them.
ALTER TABLE plans DROP CONSTRAINT plans_tenant_id_key_key;
ALTER TABLE plans DROP CONSTRAINT plans_period_interval_check;
ALTER TABLE plans
  ADD COLUMN version integer NOT NULL DEFAULT 1 CHECK (version >= 1),
  ADD COLUMN effective_from timestamptz,
  ADD COLUMN period_every integer NOT NULL DEFAULT 1 CHECK (period_every BETWEEN 1 AND 366),
  ADD COLUMN proration_basis text NOT NULL DEFAULT 'second' CHECK (proration_basis IN ('second', 'day')),
  -- SHA-256 of what decides amounts, as the invoicer spells it. Rows from before have none: it is computed when it is asked for.
  ADD COLUMN content_hash text CHECK (content_hash ~ '^[0-9a-f]{64}$'),
  ADD CONSTRAINT plans_version_key UNIQUE (tenant_id, key, version),
  ADD CONSTRAINT plans_effective_from_check CHECK ((version = 1) = (effective_from IS NULL)),
  ADD CONSTRAINT plans_period_interval_check
    CHECK (period_interval IN ('day', 'week', 'month', 'quarter', 'half_year', 'year'));
