-- Views for analysts, read only: usage in quantities that are done, and events as they count. Columns, sample queries
-- and notes for BI tools: README.md in this folder. They read `usage_rows` and `effective_events`, and know nothing of
-- shards, copies and operations; what several rows come to is said as in quantity-of.ts, here with the aggregation as a
-- column. They nest, so a session that reads them has this database as its default.

-- Usage of every meter per subject, group and period of a zone's calendar. Parameters: tenant, period (minute, hour,
-- day, week, month), zone (IANA), from_ms, to_ms (half-open, floored to the minute; periods are cut there), as_of_ms
-- (known before; 4102444800000 for "now").
-- A level (time_weighted_sum) lasts until the next one and is cut where periods begin: its rows are gathered as
-- `changes` (instant, order, level, events) and become pieces (period, level, ms, events), one per period that they
-- touch. Of the other aggregations a group is one piece. Periods differ in length: an instant every half of a mean
-- one meets each of them, and one and a half mean ones behind a start lies the next.
CREATE OR REPLACE VIEW usage_by_period AS
WITH
  intDiv({from_ms:Int64}, 60000) * 60000 AS from_floored_ms,
  intDiv({to_ms:Int64}, 60000) * 60000 AS to_floored_ms,
  transform({period:String}, ['minute', 'hour', 'day', 'week', 'month'], [60, 3600, 86400, 604800, 2592000], 0) AS mean_s
SELECT
  toUInt32({tenant:UInt32}) AS tenant,
  meter,
  aggregation,
  subject,
  group_values,
  period_start,
  toDateTime(
    dateTrunc({period:String}, period_start + intDiv(mean_s * 3, 2), {zone:String}), {zone:String}
  ) AS period_end,
  if(
    aggregation = 'time_weighted_sum',
    CAST(round(divideDecimal(
      weighted,
      toDecimal256(greatest(
        least(toInt64(toUnixTimestamp(period_end)) * 1000, to_floored_ms)
        - greatest(toInt64(toUnixTimestamp(period_start)) * 1000, from_floored_ms), 1), 0),
      13), 12), 'Decimal(76, 12)'),
    settled
  ) AS quantity,
  counted AS events
FROM (
  SELECT
    meter,
    aggregation,
    subject,
    group_values,
    piece.1 AS period_start,
    max(piece.2) AS settled,
    sum(if(aggregation = 'time_weighted_sum', piece.2, toDecimal256(0, 12)) * piece.3) AS weighted,
    sum(piece.4) AS counted
  FROM (
    SELECT
      meter,
      aggregation,
      subject,
      group_values,
      arrayJoin(if(
        aggregation != 'time_weighted_sum',
        [(first_period, quantity, toDecimal256(0, 0), events)],
        arrayConcat(
          arrayMap(
            change -> (
              toDateTime(dateTrunc({period:String}, toDateTime(intDiv(change.1, 1000), 'UTC'), {zone:String}), {zone:String}),
              toDecimal256(0, 12), toDecimal256(0, 0), change.4),
            arrayFilter(change -> change.1 >= from_floored_ms, changes)),
          arrayFlatten(arrayMap(
            (since_ms, until_ms, level) -> arrayMap(
              start -> (
                start, level,
                toDecimal256(
                  least(until_ms, toInt64(toUnixTimestamp(toDateTime(
                    dateTrunc({period:String}, start + intDiv(mean_s * 3, 2), {zone:String}), {zone:String}))) * 1000)
                  - greatest(since_ms, toInt64(toUnixTimestamp(start)) * 1000), 0),
                toUInt64(0)),
              arrayDistinct(arrayMap(
                instant_s -> toDateTime(
                  dateTrunc({period:String}, toDateTime(instant_s, 'UTC'), {zone:String}), {zone:String}),
                if(
                  since_ms < until_ms,
                  arrayPushBack(
                    range(intDiv(since_ms, 1000), intDiv(until_ms - 1, 1000), greatest(intDiv(mean_s, 2), 60)),
                    intDiv(until_ms - 1, 1000)),
                  [])))),
            arrayMap(change -> greatest(change.1, from_floored_ms), changes),
            arrayPushBack(arrayMap(change -> greatest(change.1, from_floored_ms), arrayPopFront(changes)), to_floored_ms),
            arrayMap(change -> change.3, changes)))))) AS piece
    FROM (
      SELECT
        meter,
        aggregation,
        subject,
        group_values,
        if(
          aggregation = 'time_weighted_sum',
          toDateTime(0, {zone:String}),
          toDateTime(dateTrunc({period:String}, bucket, {zone:String}), {zone:String})
        ) AS first_period,
        arraySort(groupArrayIf(
          (toInt64OrZero(item), last_key, usage.quantity, usage.events), aggregation = 'time_weighted_sum')) AS changes,
        sum(usage.events) AS events,
        CAST(multiIf(
          aggregation = 'min', min(usage.quantity),
          aggregation = 'max' AND window = '', max(usage.quantity),
          aggregation = 'max', arraySum(mapValues(maxMapIf(
            map(if(window = 'day', toStartOfDay(bucket), toStartOfHour(bucket)), usage.quantity),
            aggregation = 'max' AND window != ''))),
          aggregation = 'average', CAST(round(divideDecimal(
            sumIf(usage.quantity, aggregation = 'average'),
            toDecimal256(greatest(sum(usage.events), 1), 0), 13), 12), 'Decimal(76, 12)'),
          aggregation = 'unique_count', toDecimal256(uniqExactIf(item, aggregation = 'unique_count' AND usage.quantity > 0), 12),
          aggregation = 'latest', argMax(usage.quantity, last_key),
          aggregation = 'percentile', arrayMap(
            (sorted, rank) -> sorted[arrayFirstIndex(reached -> reached >= rank, arrayCumSum(sorted.2))].1,
            [arraySort(groupArrayIf((usage.quantity, usage.events), aggregation = 'percentile'))],
            [greatest(intDiv(
              toUInt256(sum(usage.events)) * toUInt256(toDecimal256OrZero(percentile, 12) * 1000000000000)
                + toUInt256('99999999999999'),
              toUInt256('100000000000000')), 1)])[1],
          sumIf(usage.quantity, aggregation NOT IN ('time_weighted_sum', 'average'))
        ), 'Decimal(76, 12)') AS quantity
      FROM usage_rows(tenant = {tenant:UInt32}, meter = '*', as_of_ms = {as_of_ms:Int64}, shards = []) AS usage
      INNER JOIN (
        SELECT
          meter,
          any(meter_versions.aggregation) AS aggregation,
          any(meter_versions.window) AS window,
          if(any(meter_versions.percentile) = '', '50', any(meter_versions.percentile)) AS percentile
        FROM meter_versions WHERE tenant = {tenant:UInt32}
        GROUP BY meter
      ) AS definitions USING (meter)
      WHERE bucket < toDateTime(intDiv(to_floored_ms, 1000), 'UTC')
        AND (aggregation = 'time_weighted_sum' OR bucket >= toDateTime(intDiv(from_floored_ms, 1000), 'UTC'))
      GROUP BY meter, aggregation, window, percentile, subject, group_values, first_period
    )
  )
  GROUP BY meter, aggregation, subject, group_values, period_start
);

-- Usage of every meter per subject, group and minute, as known now. Parameters: tenant, from_ms, to_ms.
CREATE OR REPLACE VIEW usage_minute AS
SELECT tenant, meter, aggregation, subject, period_start AS bucket, group_values, quantity, events
FROM usage_by_period(
  tenant = {tenant:UInt32}, period = 'minute', zone = 'UTC', from_ms = {from_ms:Int64}, to_ms = {to_ms:Int64},
  as_of_ms = 4102444800000);

-- The same per day of UTC.
CREATE OR REPLACE VIEW usage_daily AS
SELECT tenant, meter, aggregation, subject, toDate(period_start) AS day, group_values, quantity, events
FROM usage_by_period(
  tenant = {tenant:UInt32}, period = 'day', zone = 'UTC', from_ms = {from_ms:Int64}, to_ms = {to_ms:Int64},
  as_of_ms = 4102444800000);

-- Every identity once, as it counts now: its first copy, or what replaced it; those voided are left out. Parameter:
-- tenant.
CREATE OR REPLACE VIEW events_deduplicated AS
SELECT toUInt32({tenant:UInt32}) AS tenant, source, id, type, subject, time, data, known_at, operations
FROM effective_events(tenant = {tenant:UInt32}, as_of_ms = 4102444800000)
WHERE NOT voided;
