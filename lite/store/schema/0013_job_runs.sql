-- What a job may use once something runs for it, which it counts as unless its end says what it used;
-- NULL: nothing ran for it.
ALTER TABLE jobs ADD COLUMN run_fuel INTEGER;
ALTER TABLE jobs ADD COLUMN run_ms INTEGER;

-- Of the jobs of a day that ran, those that were answered. Before this no others were counted. What
-- others said of their work could take any number below it.
ALTER TABLE job_days ADD COLUMN done INTEGER NOT NULL DEFAULT 0;
UPDATE job_days SET done = jobs, fuel = max(0, min(fuel, 9007199254740991)),
    time_ms = max(0, min(time_ms, 9007199254740991));
