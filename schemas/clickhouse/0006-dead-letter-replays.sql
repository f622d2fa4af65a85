-- Dead letters that could be read later: their events are counted. The letters themselves stay. Written by: aggregator.
CREATE TABLE dead_letter_replays (
  tenant UInt32,
  log String,
  partition UInt32,
  log_offset UInt64,
  replayed_at DateTime64(3, 'UTC'),
  events UInt64
) ENGINE = ReplacingMergeTree
ORDER BY (tenant, log, partition, log_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
