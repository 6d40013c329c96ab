//! The format of snapshots as it is documented: its example is read whole and decided, and every field has a row.

#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

use serde_json::Value;
use trimtab_scale::{Recorded, Verdict};

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/autoscaler-snapshot.md");
    std::fs::read_to_string(path).unwrap()
}

fn example(page: &str) -> Value {
    let block = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    serde_json::from_str(block).unwrap()
}

/// Whether everything that is written and says something is also there when it was read.
fn unread(path: &str, written: &Value, read: &Value, found: &mut Vec<String>) {
    match (written, read) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                match b.get(key) {
                    Some(other) => unread(&format!("{path}.{key}"), value, other, found),
                    None if *value == Value::Bool(false) || value.as_array().is_some_and(Vec::is_empty) => {}
                    None => found.push(format!("{path}.{key}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => a.iter().zip(b).for_each(|(a, b)| unread(path, a, b, found)),
        _ => {}
    }
}

#[test]
fn the_example_is_read_whole_and_decided_as_the_page_says() {
    let page = page();
    let written = example(&page);
    let record: Recorded = serde_json::from_value(written.clone()).unwrap();
    let mut found = vec![];
    unread("", &written, &serde_json::to_value(&record).unwrap(), &mut found);
    assert!(found.is_empty(), "the example has fields that nobody reads: {found:?}");
    assert!(page.contains("The queue asks for 5 pods, the forecast for 6;"));
    let decided = record.decide();
    assert_eq!((decided.verdict, decided.desired), (Verdict::Set(6), 6), "{decided:#?}");
    let metrics: Vec<_> =
        decided.decision.metrics.iter().map(|metric| (metric.name.as_str(), metric.replicas)).collect();
    assert_eq!(metrics[1], ("queue", Some(5)));
    let mut without = record;
    without.snapshot.forecast = None;
    assert_eq!(without.decide().desired, 5);
}

#[test]
fn every_field_has_a_row() {
    let (page, mut record) = (page(), example(&page()));
    let parsed: Recorded = serde_json::from_value(record.clone()).unwrap();
    for (key, value) in serde_json::to_value(&parsed).unwrap().as_object().unwrap() {
        record[key] = value.clone();
    }
    let has = |name: &str| page.contains(&format!("`{name}")) || page.contains(&format!(".{name}`"));
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<String>>();
    let fields = [keys(&record), keys(&record["target"]), keys(&record["pods"][2]), keys(&record["options"])].concat();
    let decided = serde_json::to_value(parsed.decide()).unwrap();
    for field in fields.iter().chain(&keys(&decided)).chain(&keys(&decided["history"])) {
        assert!(has(field), "docs/reference/autoscaler-snapshot.md has no row for {field}");
    }
}
