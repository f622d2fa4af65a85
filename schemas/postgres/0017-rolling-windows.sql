-- Levels of limits over rolling windows. Breaking: no. Processes from before do not know such limits: replace all, then
-- entitle. A level of one is told once in `window_start` to `window_end`, which are as long as its window and follow each
-- other from 1970 on.
ALTER TABLE quota_alerts DROP CONSTRAINT quota_alerts_period_check;
ALTER TABLE quota_alerts ADD CONSTRAINT quota_alerts_period_check
  CHECK (period IN ('hour', 'day', 'month', 'billing_period', 'rolling_hour', 'rolling_day', 'rolling_30_days'));
