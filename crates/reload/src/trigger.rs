//! The one patch of a reload: what makes the pods anew, and the record of it. Not when it is sent.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use trimtab_config::{Pin, Source, SourceKind};
use trimtab_crds::names;
use trimtab_plan::{Verb, Write};

use crate::noted::Variables;
use crate::options::{LAST_RELOADED_FROM, ROLLOUT_STRATEGY};
use crate::record::{Record, Reload};
use crate::template::{Template, trigger_variable};
use crate::{Change, How, Is, Options, Progress, Strategy, Survey, Workload};

/// SHA-1 of nothing: what Reloader notes of a source that is gone.
const NOTHING: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

/// What the record says once the changes are applied; with a reload in its log if pods are made anew for them.
pub(crate) fn record(now: Timestamp, workload: &Workload, survey: &Survey, restart: bool) -> Record {
    let mut record = Record::of(workload);
    record.applied = survey.kept.clone();
    record.expressions = survey.expressions.clone();
    record.applied.extend(survey.changes.iter().map(|change| (change.source.clone(), change.to.clone())));
    if restart {
        let to = survey.changes.iter().map(|change| (change.source.clone(), change.to.pin.clone()));
        record.push(Reload {
            at: now,
            to: trimtab_config::Pins(to.collect()),
            by: survey.changes.iter().filter_map(|change| change.by.as_deref().map(str::to_owned)).collect(),
            unsettled: workload.progress != Progress::Settled,
        });
    }
    record
}

/// The record as annotations of the workload.
pub(crate) fn annotations(record: &Record) -> Map<String, Value> {
    let mut annotations = Map::new();
    annotations.insert(names::RELOAD_APPLIED.to_owned(), record.applied_text().into());
    if let Some(log) = record.log_text() {
        annotations.insert(names::RELOAD_LOG.to_owned(), log.into());
    }
    if !record.expressions.is_empty() {
        let ids: Vec<&str> = record.expressions.iter().map(String::as_str).collect();
        annotations.insert(names::RELOAD_EXPRESSIONS.to_owned(), ids.join(",").into());
    }
    annotations
}

/// Notes what is applied, and touches nothing else: no pod is made anew for it.
pub(crate) fn note(workload: &Workload, record: &Record, why: &str) -> Write {
    let body = json!({"metadata": {"uid": workload.metadata.uid, "annotations": annotations(record)}});
    Write { target: workload.object(), verb: Verb::Merge { body, subresource: None }, why: why.to_owned() }
}

/// Restarts a workload by its pod template, and notes what for, in one patch.
pub(crate) fn restart(now: Timestamp, options: &Options, workload: &Workload, survey: &Survey) -> Write {
    let record = record(now, workload, survey, true);
    let mut metadata = annotations(&record);
    let mut spec = Map::new();
    let timed = if workload.kind == names::ROLLOUT && workload.annotation(ROLLOUT_STRATEGY) == Some("restart") {
        spec.insert("restartAt".to_owned(), now.to_string().into());
        true
    } else {
        let (template, timed) = template(now, options, workload, survey, &record);
        spec.insert("template".to_owned(), template);
        timed
    };
    if workload.kind == names::DEPLOYMENT && !workload.paused && pause_period(options, workload).is_some() {
        spec.insert("paused".to_owned(), true.into());
        metadata.insert(options.names.paused_at.clone(), seconds(now).into());
    }
    let mut body = json!({"metadata": {"uid": workload.metadata.uid, "annotations": metadata}, "spec": spec});
    // Made again where the first has not been seen, it would roll once more: it holds for what was seen alone.
    if timed {
        body["metadata"]["resourceVersion"] = workload.metadata.resource_version.as_str().into();
    }
    let sources: Vec<String> = survey.changes.iter().map(|change| change.source.to_string()).collect();
    let why = format!("restart it for {}", sources.join(", "));
    // Strategic patches are not for custom resources.
    let custom = workload.kind == names::ROLLOUT;
    let verb = match custom {
        true => Verb::Merge { body, subresource: None },
        false => Verb::Strategic { body, subresource: None },
    };
    Write { target: workload.object(), verb, why }
}

/// How long a Deployment stays paused after a change, if it or its template says so.
pub(crate) fn pause_period(options: &Options, workload: &Workload) -> Option<std::time::Duration> {
    let name = &options.names.pause_period;
    let period = workload.annotation(name).or_else(|| workload.template.annotations.get(name))?;
    trimtab_crds::parse_duration(period.trim())
}

/// RFC 3339 in whole seconds, as Reloader writes it.
fn seconds(now: Timestamp) -> String {
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// What changes in the template, and whether that says what time it is, so that it is another each time.
fn template(now: Timestamp, options: &Options, workload: &Workload, survey: &Survey, record: &Record) -> (Value, bool) {
    let mut variables: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
    let (mut annotations, mut timed) = (Map::new(), false);
    let shared = Variables::of(&workload.template);
    for change in &survey.changes {
        match style(options, workload, change, &shared) {
            Style::Variable(container) => variables.entry(container).or_default().push(variable(change)),
            Style::Reloader => {
                timed = true;
                annotations
                    .insert(LAST_RELOADED_FROM.to_owned(), reloaded_from(now, workload, change).to_string().into());
            }
            Style::Native => {
                let (text, same) = reloaded(now, &workload.template, record);
                timed |= same;
                annotations.insert(names::RELOADED.to_owned(), text.into());
            }
        }
    }
    let mut template = json!({});
    if !annotations.is_empty() {
        template["metadata"]["annotations"] = annotations.into();
    }
    let name = |index: usize| workload.template.containers.get(index).map_or("", |container| &*container.name);
    let containers: Vec<Value> =
        variables.into_iter().map(|(index, env)| json!({"name": name(index), "env": env})).collect();
    if !containers.is_empty() {
        template["spec"]["containers"] = containers.into();
    }
    (template, timed)
}

/// What our annotation of the template says: another text than before, also where an undo brought an old one back; and whether it did.
fn reloaded(now: Timestamp, template: &Template, record: &Record) -> (String, bool) {
    let text = record.pins().to_string();
    let same = template.annotations.get(names::RELOADED) == Some(text.as_str());
    (if same { format!("{text}@{now}") } else { text }, same)
}

/// How one change shows in a template.
enum Style {
    /// As a variable of this container.
    Variable(usize),
    /// As Reloader's annotation.
    Reloader,
    /// As ours.
    Native,
}

fn style(options: &Options, workload: &Workload, change: &Change, shared: &Variables) -> Style {
    let template = &workload.template;
    let custom = workload.kind == names::ROLLOUT;
    match options.strategy {
        Strategy::Annotations => Style::Reloader,
        Strategy::Default if change.how == How::Native => Style::Native,
        // A list of a custom resource is replaced whole by a patch.
        Strategy::Default | Strategy::EnvVars if custom => Style::Reloader,
        Strategy::Default | Strategy::EnvVars => {
            let name = trigger_variable(&change.source);
            let index = container(template, &change.source, &name);
            let there = template.containers.get(index).and_then(|container| container.triggers.get(name.as_str()));
            // A variable that two sources would write in turn tells nothing of either; and one that has this value already,
            // by an undo or since SHA-1 of joined entries has collisions, would restart nothing.
            let same = there.is_some_and(|value| Some(&**value) == change.trigger.as_deref());
            // Nor may a variable be put into a list whose order the patch would change.
            let repeats = template.containers.get(index).is_none_or(|container| container.repeats);
            if shared.is_shared(template, &change.source, &name) || same || repeats {
                return Style::Native;
            }
            Style::Variable(index)
        }
    }
}

/// Where the variable is already, else where the source is read, else the first container.
fn container(template: &Template, source: &Source, name: &str) -> usize {
    let there = template.containers.iter().position(|container| container.triggers.contains_key(name));
    there.or_else(|| template.uses.get(source)?.container).unwrap_or(0)
}

fn variable(change: &Change) -> Value {
    let name = trigger_variable(&change.source);
    match (&change.trigger, change.is) {
        (Some(hash), Is::Created | Is::Changed) => json!({"name": name, "value": hash}),
        _ => json!({"name": name, "$patch": "delete"}),
    }
}

fn reloaded_from(now: Timestamp, workload: &Workload, change: &Change) -> Value {
    let template = &workload.template;
    let index = template.uses.get(&change.source).and_then(|used| used.container).unwrap_or(0);
    let containers: Vec<&str> = template.containers.get(index).map(|container| &*container.name).into_iter().collect();
    let kind = match change.source.kind {
        SourceKind::ConfigMap => "CONFIGMAP",
        SourceKind::Secret => "SECRET",
    };
    let hash = change.trigger.as_deref().filter(|_| change.to.pin != Pin::Absent).unwrap_or(NOTHING);
    json!({
        "type": kind, "name": change.source.name, "namespace": workload.metadata.namespace, "hash": hash,
        "containerRefs": containers, "observedAt": now.as_second(),
    })
}
