//! How long a month of decisions takes: 30 days, one every 15 seconds, for each of several specs. No assertion: it measures.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use trimtab_backtest::{Feed, Row, Setup, as_hpa, run, score};
use trimtab_crds::AutoscalerSpec;

/// Steps of 15 seconds in 30 days.
const STEPS: i64 = 172_800;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cpu = r#"{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}"#;
    let queue = r#"{"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "30"}}}"#;
    let windows = r#"[{"name": "office", "start": "0 8 * * 1-5", "end": "0 18 * * 1-5", "timeZone": "Europe/Berlin", "minReplicas": 20},
        {"name": "night", "start": "0 22 * * *", "duration": "6h", "timeZone": "America/New_York", "maxReplicas": 30}]"#;
    let behavior = r#"{"scaleDown": {"stabilizationWindowSeconds": 600, "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}]}}"#;
    let specs = [
        ("queue, 20 to 60 pods", queue.to_owned(), "[]", "null"),
        ("cpu, 20 to 60 pods", cpu.to_owned(), "[]", "null"),
        ("cpu and queue, behavior", format!("{cpu},{queue}"), "[]", behavior),
        ("cpu, two windows", cpu.to_owned(), windows, "null"),
    ];
    for (name, metrics, schedules, behavior) in specs {
        let text = format!(
            r#"{{"targetRef": {{"kind": "Deployment", "name": "web"}}, "minReplicas": 2, "maxReplicas": 100,
                "metrics": [{metrics}], "schedules": {schedules}, "behavior": {behavior}}}"#
        );
        let spec: AutoscalerSpec = serde_json::from_str(&text)?;
        let feed = month()?;
        for (who, spec) in [("own", spec.clone()), ("hpa", as_hpa(&spec))] {
            let begun = Instant::now();
            let course = run(&spec, &feed, &Setup::default())?;
            let took = begun.elapsed();
            let score = score(&course, 0.1);
            let each = took.as_secs_f64() * 1e6 / course.decisions as f64;
            println!(
                "{name:<26} {who}  {:>7} decisions  {:>6.2} s  {each:>6.2} us each  {:>8.0} pod hours  {} changes",
                course.decisions,
                took.as_secs_f64(),
                score.replica_hours,
                score.changes
            );
        }
    }
    Ok(())
}

/// Days of load with a noon and a night, and something on top that is not the same twice.
fn month() -> Result<Feed, Box<dyn std::error::Error>> {
    let start: Timestamp = "2026-03-01T00:00:00Z".parse()?;
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let rows = (0..STEPS).map(|n| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let noise = (state >> 40) as f64 / f64::from(1 << 24);
        let day = (n as f64 * 15.0 / 86_400.0 * std::f64::consts::TAU).cos();
        let pods = 40.0 - 20.0 * day + 4.0 * noise;
        Ok(Row {
            at: start.checked_add(SignedDuration::from_secs(n * 15))?,
            values: vec![Some(pods * 0.7), Some(pods * 30.0)],
        })
    });
    let rows: Result<Vec<Row>, jiff::Error> = rows.collect();
    Ok(Feed::new(vec!["cpu".to_owned(), "queue".to_owned()], rows?)?)
}
