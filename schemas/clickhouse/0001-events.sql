-- Raw events and where they came from. Written by: aggregator. Read by: the views below and nobody else.
-- Durable means it survives power loss: inserts are fsynced (ClickHouse does not by default).

-- One row per copy with another payload; copies alike in payload collapse. All copies of an identity lie in one
-- (tenant, shard). version = 2^128 - 1 - (known_at ms | partition | offset | index): the first copy has the largest.
CREATE TABLE events (
  tenant UInt32,
  shard UInt64,
  source String,
  id String,
  payload UInt128,
  type LowCardinality(String),
  subject String,
  time DateTime64(3, 'UTC'),
  time_given Bool,
  data String,
  known_at DateTime64(3, 'UTC'),
  version UInt128
) ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, shard, source, id, payload)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- What the store holds of the log: dense ranges of its records, written after their events. Progress is the
-- contiguous end of all of them.
CREATE TABLE ingest_ranges (
  log String,
  partition UInt32,
  first_offset UInt64,
  next_offset UInt64,
  events UInt64,
  dead UInt32,
  known_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree
ORDER BY (log, partition, first_offset, next_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- How far into the log the events of a shard reach, by the hour in which they became known. Written after the
-- events and before their ranges, so a range never stands without its marks.
CREATE TABLE shard_changes (
  tenant UInt32,
  shard UInt64,
  log String,
  partition UInt32,
  known_hour DateTime('UTC'),
  next_offset UInt64
) ENGINE = ReplacingMergeTree(next_offset)
ORDER BY (tenant, shard, log, partition, known_hour)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Log records that could not be read, kept whole. tenant 0: not known.
CREATE TABLE dead_letters (
  tenant UInt32,
  log String,
  partition UInt32,
  log_offset UInt64,
  known_at DateTime64(3, 'UTC'),
  reason String,
  bytes_base64 String
) ENGINE = ReplacingMergeTree
ORDER BY (tenant, log, partition, log_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- The meters as rollups are built with them. A copy of the Postgres table; the aggregator writes both.
CREATE TABLE meters (
  tenant UInt32,
  meter String,
  revision UInt32,
  event_type String,
  aggregation String,
  value_path Array(String),
  group_paths Array(Array(String))
) ENGINE = ReplacingMergeTree(revision)
ORDER BY (tenant, meter)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Rebuilt usage of a shard. A rebuild writes all rows of its shards under a new `run`, then the heads; only rows
-- of a head's run are read. Meter '' counts every event of the shard once, for seals.
CREATE TABLE usage_rollup (
  tenant UInt32,
  meter String,
  subject String,
  bucket DateTime('UTC'),
  group_values Array(String),
  known_hour DateTime('UTC'),
  shard UInt64,
  run UInt64,
  quantity Decimal(76, 12),
  events UInt64,
  digest UInt128
) ENGINE = MergeTree
ORDER BY (tenant, meter, subject, bucket, shard)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Which run of a shard is read. version = meters' revision * 2^40 + identities seen: it only grows as the set grows,
-- so a late writer with an older set never wins. covered = sum over partitions of shard_changes' next_offset that
-- was visible before the events were read: a shard whose sum is larger is dirty.
CREATE TABLE shard_heads (
  tenant UInt32,
  shard UInt64,
  version UInt64,
  run UInt64,
  covered UInt64,
  built_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, shard)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
