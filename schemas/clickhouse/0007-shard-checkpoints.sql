-- What lets a question pass over shards that did not change, so that it does not grow with history.

-- A checkpoint of a tenant says: every shard whose marks (shard_changes) all lie at or below these ends of the logs'
-- partitions is clean, and its rollup knows every meter up to `revision`. Below an end everything is stored, so no new
-- mark can come to lie there: a checkpoint stays true for ever, and the newest is only the most useful one. Partitions
-- that are not named end at 0. Written by: the rebuild. Read by: whoever asks which shards are live.
CREATE TABLE shard_checkpoints (
  tenant UInt32,
  made_at DateTime64(3, 'UTC'),
  revision UInt32,
  logs Array(String),
  partitions Array(UInt32),
  ends Array(UInt64)
) ENGINE = ReplacingMergeTree(made_at)
ORDER BY tenant
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Marks behind a checkpoint are found without reading those before it. Parts written before get the index as they merge.
ALTER TABLE shard_changes ADD INDEX IF NOT EXISTS newest (log, partition, next_offset) TYPE minmax GRANULARITY 1;

-- The two halves of `usage_rows`, each for who knows already which shards are live, as exact-usage.clickhouse.ts finds
-- out first: a statement that holds only what it needs is planned in a tenth of the time.

-- Rows of the runs that the heads name, of all shards but the live ones. Heads are read of the shards in question
-- alone. A head that contains operations of after as_of is an error: its shard was not live when that was asked, and is
-- now. Parameters: tenant, meters, subjects, everybody (1: subjects are not asked), from_ms, to_ms (half-open, whole
-- minutes), as_of_ms, live.
CREATE OR REPLACE VIEW usage_from_rollup AS
WITH fromUnixTimestamp64Milli({as_of_ms:Int64}, 'UTC') AS as_of
SELECT meter, shard, subject, bucket, group_values, quantity, events, digest, item, last_key
FROM usage_rollup
WHERE tenant = {tenant:UInt32} AND meter IN {meters:Array(String)}
  AND ({everybody:UInt8} = 1 OR subject IN {subjects:Array(String)})
  AND bucket >= toDateTime(intDiv({from_ms:Int64}, 1000), 'UTC') AND bucket < toDateTime(intDiv({to_ms:Int64}, 1000), 'UTC')
  AND known_hour < toStartOfHour(as_of)
  AND shard NOT IN {live:Array(UInt64)}
  AND (shard, run) IN (
    SELECT shard, argMax(run, (shard_heads.version, shard_heads.built_at))
    FROM shard_heads
    WHERE tenant = {tenant:UInt32} AND shard NOT IN {live:Array(UInt64)} AND shard IN (
      SELECT shard FROM usage_rollup
      WHERE tenant = {tenant:UInt32} AND meter IN {meters:Array(String)}
        AND ({everybody:UInt8} = 1 OR subject IN {subjects:Array(String)})
        AND bucket >= toDateTime(intDiv({from_ms:Int64}, 1000), 'UTC')
        AND bucket < toDateTime(intDiv({to_ms:Int64}, 1000), 'UTC')
    )
    GROUP BY shard
    HAVING throwIf(
      {meters:Array(String)} != ['']
        AND argMax(operations_hour, (shard_heads.version, shard_heads.built_at)) >= toStartOfHour(as_of),
      'A shard was rebuilt with operations known after as_of: it is live now'
    ) = 0
  );

-- Rows straight from the events of shards without operations, for meters whose quantity is one property or the number
-- of events, adds up, and is not filtered. What a quantity is, is said in usage_rows. Parameters: tenant, shards,
-- as_of_ms, definitions (JSON of the meters' versions: slug, event type, from, until, path of the value, paths of the
-- groups; the meter '' counts every event).
CREATE OR REPLACE VIEW usage_from_events AS
SELECT
  meter,
  shard,
  subject,
  bucket,
  group_values,
  known_hour,
  if(computed > 0 AND computed < toDecimal256('100000000000000000000000000', 12), computed, toDecimal256(0, 12)) AS quantity,
  toUInt64(1) AS events,
  identity_hash AS digest,
  '' AS item,
  toUInt256(0) AS last_key,
  toUInt64(0) AS operations
FROM (
  SELECT
    definition.1 AS meter,
    shard,
    if(meter = '', '', first.2) AS subject,
    if(meter = '', toStartOfDay(first.3), toStartOfMinute(first.3)) AS bucket,
    arrayMap(
      path -> JSONExtractString(arrayFold((json, key) -> JSONExtractRaw(json, key), path, first.4)),
      definition.6
    ) AS group_values,
    toDateTime(intDiv(bitShiftRight(bitNot(first.5), 84), 3600000) * 3600, 'UTC') AS known_hour,
    identity_hash,
    if(empty(definition.5), '1', arrayFold((json, key) -> JSONExtractRaw(json, key), definition.5, first.4)) AS raw,
    multiIf(
      match(raw, '^"\\d{1,26}(\\.\\d{1,12})?"$'), toDecimal256OrZero(substring(raw, 2, length(raw) - 2), 12),
      match(raw, '^\\d') AND toDecimal256OrZero(raw, 12) = toDecimal256OrZero(raw, 40), toDecimal256OrZero(raw, 12),
      toDecimal256(0, 12)
    ) AS computed
  FROM (
    SELECT
      shard,
      reinterpretAsUInt128(sipHash128Reference(tenant, source, id)) AS identity_hash,
      argMax((toString(type), subject, time, data, version), version) AS first
    FROM events
    WHERE tenant = {tenant:UInt32} AND shard IN {shards:Array(UInt64)}
      AND NOT startsWith(type, 'tallyline.')
      AND known_at < fromUnixTimestamp64Milli({as_of_ms:Int64}, 'UTC')
    GROUP BY tenant, shard, source, id
  )
  ARRAY JOIN arrayFilter(
    meant -> meant.1 = '' OR (
      meant.2 = first.1
      AND toUnixTimestamp64Milli(first.3) >= meant.3
      AND toUnixTimestamp64Milli(first.3) < meant.4),
    JSONExtract({definitions:String}, 'Array(Tuple(String, String, Int64, Int64, Array(String), Array(Array(String))))')
  ) AS definition
);
