-- Which run of a shard is read is found in a third of the time (decision 0021). Nothing else changes: columns and what they
-- come to are those of 0007, and so are the parameters.

-- Rows of the runs that the heads name, of all shards but the live ones. Heads lie in the order of their shards, so the
-- newest of each is the first row of its shard, and nothing is grouped. Those of the shards in question are found by their
-- range and then one by one: `identity` keeps ClickHouse from looking each up in the index, which takes longer.
-- A head that contains operations of after as_of is an error: its shard was not live when that was asked, and is now.
-- Parameters: tenant, meters, subjects, everybody (1: subjects are not asked), from_ms, to_ms (half-open, whole minutes),
-- as_of_ms, live.
CREATE OR REPLACE VIEW usage_from_rollup AS
WITH
  fromUnixTimestamp64Milli({as_of_ms:Int64}, 'UTC') AS as_of,
  (
    SELECT (min(shard), max(shard)) FROM usage_rollup
    WHERE {everybody:UInt8} = 0 AND tenant = {tenant:UInt32} AND meter IN {meters:Array(String)}
      AND subject IN {subjects:Array(String)}
      AND bucket >= toDateTime(intDiv({from_ms:Int64}, 1000), 'UTC')
      AND bucket < toDateTime(intDiv({to_ms:Int64}, 1000), 'UTC')
  ) AS within
SELECT meter, shard, subject, bucket, group_values, quantity, events, digest, item, last_key
FROM usage_rollup
WHERE tenant = {tenant:UInt32} AND meter IN {meters:Array(String)}
  AND ({everybody:UInt8} = 1 OR subject IN {subjects:Array(String)})
  AND bucket >= toDateTime(intDiv({from_ms:Int64}, 1000), 'UTC') AND bucket < toDateTime(intDiv({to_ms:Int64}, 1000), 'UTC')
  AND known_hour < toStartOfHour(as_of)
  AND shard NOT IN {live:Array(UInt64)}
  AND (shard, run) IN (
    SELECT shard, run
    FROM (
      SELECT shard, run, operations_hour
      FROM shard_heads
      WHERE tenant = {tenant:UInt32} AND shard NOT IN {live:Array(UInt64)}
        AND ({everybody:UInt8} = 1 OR (shard >= within.1 AND shard <= within.2))
        AND identity(shard) IN (
          SELECT shard FROM usage_rollup
          WHERE tenant = {tenant:UInt32} AND meter IN {meters:Array(String)}
            AND ({everybody:UInt8} = 1 OR subject IN {subjects:Array(String)})
            AND bucket >= toDateTime(intDiv({from_ms:Int64}, 1000), 'UTC')
            AND bucket < toDateTime(intDiv({to_ms:Int64}, 1000), 'UTC')
        )
      ORDER BY tenant, shard, version DESC, built_at DESC
      LIMIT 1 BY tenant, shard
    )
    WHERE throwIf(
      {meters:Array(String)} != [''] AND operations_hour >= toStartOfHour(as_of),
      'A shard was rebuilt with operations known after as_of: it is live now'
    ) = 0
  );
