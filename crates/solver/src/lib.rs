//! Schedules vertices in parallel, looks up and records the cache; knows no Linux
