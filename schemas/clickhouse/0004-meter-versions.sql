-- Meters in versions, and rollups of every aggregation. Written by: aggregator. Read by: the views.

-- The meters as rollups are built with them, each version: an event counts with the version in whose time it lies,
-- from effective_from to that of the next one. A copy of the Postgres tables. Forms of value_json and filter_json:
-- ValueForm, FilterForm in schemas/meter. A revision grows per tenant with every change of any meter.
-- The other columns are the form in which usage_rows computes, made once, when a row is written. `paths`: properties of
-- the value, of the filter (numbers, the first of them), then of the groups; what refers to one holds its place.
-- `polynomials`: numerator and denominator as lists of (coefficient, places); none for a plain path. `filter`: clauses
-- of conditions (place, values, least, most, exists, negated): one holds if the text is among the values, or the number
-- within the bounds, or anything stands there. A number has 12 places, so "below 5" is "at most 4.999999999999".
-- `kind`: what stands for rows alike: 0 and 7 their sum, else the row with the largest last_key.
CREATE TABLE meter_versions (
  tenant UInt32,
  meter String,
  version UInt32,
  revision UInt32,
  effective_from DateTime64(3, 'UTC'),
  event_type String,
  aggregation String,
  window String,
  percentile String,
  value_json String,
  filter_json String,
  group_paths Array(Array(String)),
  kind UInt8 MATERIALIZED transform(
    aggregation,
    ['min', 'max', 'latest', 'time_weighted_sum', 'percentile', 'unique_count', 'count'],
    [1, 2, 3, 4, 5, 6, 7],
    0),
  value Tuple(Array(Tuple(Decimal(76, 12), Array(Array(String)))), Array(Tuple(Decimal(76, 12), Array(Array(String)))))
    MATERIALIZED JSONExtract(
      value_json,
      'Tuple(Array(Tuple(Decimal(76, 12), Array(Array(String)))), Array(Tuple(Decimal(76, 12), Array(Array(String)))))'),
  conditions Array(Array(Tuple(Array(String), String, Array(String), UInt8)))
    MATERIALIZED JSONExtract(filter_json, 'Array(Array(Tuple(Array(String), String, Array(String), UInt8)))'),
  numbers Array(Array(String)) MATERIALIZED arrayReduce('groupArrayArray', arrayConcat(
    arrayMap(term -> term.2, arrayConcat(value.1, value.2)),
    arrayMap(clause -> arrayMap(condition -> condition.1, clause), conditions))),
  number_count UInt64 MATERIALIZED length(numbers),
  paths Array(Array(String)) MATERIALIZED arrayConcat(numbers, group_paths),
  groups Array(UInt64) MATERIALIZED arrayMap(path -> indexOf(paths, path), group_paths),
  polynomials Array(Array(Tuple(Decimal(76, 12), Array(UInt64)))) MATERIALIZED if(
    aggregation = 'count' OR match(value_json, '^\\[\\[\\["1",\\[\\[[^\\]]*\\]\\]\\]\\],\\[\\]\\]$'),
    [],
    arrayMap(
      terms -> arrayMap(term -> (term.1, arrayMap(path -> indexOf(numbers, path), term.2)), terms),
      if(empty(value.2), [value.1], [value.1, value.2]))),
  filter Array(Array(Tuple(UInt64, Array(String), Decimal(76, 12), Decimal(76, 12), UInt8, UInt8))) MATERIALIZED arrayMap(
    clause -> arrayMap(
      condition -> (
        indexOf(numbers, condition.1),
        if(condition.2 = 'in', condition.3, []),
        multiIf(
          condition.2 = 'gt', toDecimal256OrZero(condition.3[1], 12) + toDecimal256('0.000000000001', 12),
          condition.2 = 'gte', toDecimal256OrZero(condition.3[1], 12),
          toDecimal256(0, 12)),
        multiIf(
          condition.2 = 'lt', toDecimal256OrZero(condition.3[1], 12) - toDecimal256('0.000000000001', 12),
          condition.2 = 'lte', toDecimal256OrZero(condition.3[1], 12),
          condition.2 IN ('gt', 'gte'), toDecimal256('1e30', 12),
          toDecimal256(-2, 12)),
        condition.2 = 'exists',
        condition.4),
      clause),
    conditions)
) ENGINE = ReplacingMergeTree(revision)
ORDER BY (tenant, meter, version)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Meters of before: each is its first version, of all time.
INSERT INTO meter_versions
SELECT
  tenant, meter, 1, revision, toDateTime64(0, 3, 'UTC'), event_type, aggregation, '', '',
  if(aggregation = 'count', '[[],[]]', '[[["1",[' || toJSONString(value_path) || ']]],[]]'), '[]', group_paths
FROM meters FINAL
WHERE (tenant, meter) NOT IN (SELECT tenant, meter FROM meter_versions);

-- `item`: what rows of a bucket are told apart by beside their group: the distinct value (unique_count, percentile), or
-- the instant in ms (time_weighted_sum). `last_key`: 0 where quantities are added; else the row with the largest one
-- stands for those alike. Of meter '': the last hour, in seconds, in which an operation on its identities became known.
ALTER TABLE usage_rollup
  ADD COLUMN IF NOT EXISTS item String AFTER digest,
  ADD COLUMN IF NOT EXISTS last_key UInt256 AFTER item,
  ADD COLUMN IF NOT EXISTS operations UInt64 AFTER last_key;

-- The last hour in which an operation (void, replace) on an identity of the shard became known; 1970 without. As of a
-- moment before its end the rollup of the shard says too much: it shows the state after the operation.
ALTER TABLE shard_heads
  ADD COLUMN IF NOT EXISTS operations_hour DateTime('UTC') AFTER built_at;
