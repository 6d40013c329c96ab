//! Whole outputs, beside what they come from: `given/NAME.yaml` becomes `expected/NAME.yaml`. With `UPDATE=1` what comes out
//! is written there, to be looked at.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

use serde_json::Value;
use trimtab_crds::AutoscalerSpec;
use trimtab_import::{Imported, Options, Source, import, yaml};

fn check(name: &str, source: Source, options: &Options) -> Vec<Imported> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let given = fs::read_to_string(folder.join("given").join(format!("{name}.yaml"))).unwrap();
    let all = import(&given, source, options).unwrap();
    let text = yaml(&all).unwrap();
    let path = folder.join("expected").join(format!("{name}.yaml"));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap(), "{name}");
    // Comments are comments: what is left is what was made, and the API's own types read it.
    let read: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    assert_eq!(read, all.iter().map(|one| one.autoscaler.clone()).collect::<Vec<_>>());
    for one in &read {
        let spec: AutoscalerSpec = serde_json::from_value(one["spec"].clone()).unwrap();
        assert!(spec.min_replicas <= spec.max_replicas);
    }
    all
}

#[test]
fn nothing_of_an_hpa_is_lost() {
    let all = check("hpa-v2", Source::Hpa, &Options::default());
    let [one] = all.as_slice() else { panic!("one") };
    assert_eq!(one.remarks.iter().map(|r| r.field.as_str()).collect::<Vec<_>>(), ["metadata.annotations"]);
}

#[test]
fn annotations_of_autoscaling_v1_are_carried_over() {
    let options = Options { recommend: true, namespace: Some("shop".to_owned()) };
    let all = check("hpa-v1", Source::Hpa, &options);
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|one| one.remarks.is_empty()));
}

#[test]
fn a_scaled_object_is_one_autoscaler() {
    let all = check("keda", Source::Keda, &Options::default());
    let text = yaml(&all).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("reader"), "{text}");
}

#[test]
fn a_trigger_that_is_lost_pauses_the_rest() {
    let text = yaml(&check("keda-lost", Source::Keda, &Options::default())).unwrap();
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn cron_triggers_alone_say_every_size() {
    check("keda-night", Source::Keda, &Options::default());
}

#[test]
fn a_formula_gives_the_number_of_pods() {
    check("keda-formula", Source::Keda, &Options { recommend: true, namespace: None });
}
