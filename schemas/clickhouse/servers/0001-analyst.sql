-- Who may read usage by SQL: the role of analysts. Needs a server that knows users; the embedded ClickHouse does not.
-- Run by "tallyline migrate" where its user may manage access; else by whoever may, with clickhouse-client and this
-- database as the default. Order of effects: (1) the role, (2) what rows it sees, (3) views, (4) grants; stopped
-- half-way, nobody sees more than is meant.
-- An analyst is a user with this role by default and a tenant that the user cannot change (README.md in the folder above,
-- also how to check it):
--   CREATE USER … DEFAULT ROLE tallyline_analyst SETTINGS SQL_tenant = 7 CONST
-- Row policies trust the session's setting: a user who may change it can name any tenant. Hence CONST in the role too; a
-- user's own setting stands above it. Settings of a role hold where it is a default role, not after SET ROLE: such a user
-- without SQL_tenant … CONST can name any tenant.

-- At least 1, because 0 would mean no limit.
CREATE ROLE IF NOT EXISTS tallyline_analyst
  SETTINGS readonly = 2, SQL_tenant = 0 CONST,
    max_execution_time = 60 MIN 1 MAX 60, max_memory_usage = 4000000000 MIN 1 MAX 4000000000;

-- Where a table has a policy, users without one may see nothing, depending on the server's configuration: this one is
-- for everybody, the product above all.
CREATE ROW POLICY IF NOT EXISTS tallyline_everybody ON
  events, usage_rollup, shard_changes, shard_heads, meter_versions
  FOR SELECT USING 1 AS PERMISSIVE TO ALL;

-- Of an analyst it leaves the rows of one tenant, whatever tenant a statement names.
CREATE ROW POLICY IF NOT EXISTS tallyline_tenant ON
  events, usage_rollup, shard_changes, shard_heads, meter_versions
  FOR SELECT USING tenant = toUInt32(getSettingOrDefault('SQL_tenant', 0)) AS RESTRICTIVE TO tallyline_analyst;

-- The views of 0008 without parameters, for tools that list tables: usage of the session's own tenant, by the minute of
-- the last seven days, and by the day and month (UTC) of all time, today and this month included.
CREATE OR REPLACE VIEW analyst_usage_minute SQL SECURITY INVOKER AS
SELECT * FROM usage_minute(
  tenant = toUInt32(getSettingOrDefault('SQL_tenant', 0)),
  from_ms = (intDiv(toUnixTimestamp(now()), 86400) - 6) * 86400000, to_ms = (toUnixTimestamp(now()) + 60) * 1000);

CREATE OR REPLACE VIEW analyst_usage_daily SQL SECURITY INVOKER AS
SELECT * FROM usage_daily(
  tenant = toUInt32(getSettingOrDefault('SQL_tenant', 0)),
  from_ms = 0, to_ms = (intDiv(toUnixTimestamp(now()), 86400) + 1) * 86400000);

CREATE OR REPLACE VIEW analyst_usage_monthly SQL SECURITY INVOKER AS
SELECT tenant, meter, aggregation, subject, group_values, toDate(period_start) AS month, quantity, events
FROM usage_by_period(
  tenant = toUInt32(getSettingOrDefault('SQL_tenant', 0)), period = 'month', zone = 'UTC',
  from_ms = 0, to_ms = toUnixTimestamp(toDateTime(toStartOfMonth(addMonths(now('UTC'), 1)), 'UTC')) * 1000,
  as_of_ms = 4102444800000);

CREATE OR REPLACE VIEW analyst_events_deduplicated SQL SECURITY INVOKER AS
SELECT * FROM events_deduplicated(tenant = toUInt32(getSettingOrDefault('SQL_tenant', 0)));

-- A view reads with the rights of whoever asks, so that the policies hold below it: hence the tables too.
GRANT
  SELECT ON usage_by_period,
  SELECT ON usage_minute,
  SELECT ON usage_daily,
  SELECT ON events_deduplicated,
  SELECT ON analyst_usage_minute,
  SELECT ON analyst_usage_daily,
  SELECT ON analyst_usage_monthly,
  SELECT ON analyst_events_deduplicated,
  SELECT ON usage_rows,
  SELECT ON effective_events,
  SELECT ON events,
  SELECT ON usage_rollup,
  SELECT ON shard_changes,
  SELECT ON shard_heads,
  SELECT ON meter_versions
TO tallyline_analyst;
