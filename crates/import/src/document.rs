//! Objects out of a text: YAML or JSON, several documents, lists. Not what they mean.

use serde_json::Value;

use crate::{Refused, Source};

/// The objects of a text. Lists are opened.
pub(crate) fn objects(text: &str) -> Result<Vec<Value>, Refused> {
    let documents = match text.trim_start().starts_with('{').then(|| serde_json::from_str::<Value>(text)) {
        Some(Ok(value)) => vec![value],
        _ => yaml(text)?,
    };
    Ok(documents.into_iter().flat_map(opened).collect())
}

fn yaml(text: &str) -> Result<Vec<Value>, Refused> {
    // No snippets: a file may hold a Secret beside what is looked for.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let place = error.location().map_or_else(String::new, |at| format!(", line {}", at.line()));
        Refused::new(format!(
            "the input is neither YAML nor JSON{place}: give a manifest as `kubectl get -o yaml` prints it"
        ))
    })
}

/// An object, or the items of a list. Items of a list of one kind need not say their kind.
fn opened(document: Value) -> Vec<Value> {
    let kind = document["kind"].as_str().unwrap_or_default().to_owned();
    let version = document["apiVersion"].clone();
    let Value::Object(mut fields) = document else { return vec![] };
    let Some(Value::Array(items)) = kind.ends_with("List").then(|| fields.remove("items")).flatten() else {
        return vec![Value::Object(fields)];
    };
    let of = kind.trim_end_matches("List");
    let named = |mut item: Value| {
        if let (Some(fields), false) = (item.as_object_mut(), of.is_empty()) {
            fields.entry("kind").or_insert_with(|| of.into());
            fields.entry("apiVersion").or_insert_with(|| version.clone());
        }
        item
    };
    items.into_iter().map(named).collect()
}

/// Why a text that holds none of the kind is refused.
pub(crate) fn nothing(objects: &[Value], source: Source) -> Refused {
    let (kind, other) = (source.kind(), if source == Source::Hpa { Source::Keda } else { Source::Hpa });
    let form = match source {
        Source::Hpa => "autoscaling/v2 or autoscaling/v1",
        Source::Keda => "keda.sh/v1alpha1",
    };
    if objects.iter().any(|object| other.has(object)) {
        let (there, word) = (other.kind(), other.word());
        return Refused::new(format!("there is no {kind} in the input, but a {there}: use `trimtab import {word}`"));
    }
    if objects.iter().any(|object| object["kind"] == "ScaledJob") {
        return Refused::new(
            "a ScaledJob starts a Job for each piece of work, and an Autoscaler sets the size of a workload: keep it with KEDA",
        );
    }
    let clean =
        |text: &str| text.chars().filter(|c| c.is_ascii_alphanumeric() || "./-".contains(*c)).collect::<String>();
    let mut kinds: Vec<String> = objects
        .iter()
        .filter_map(|object| {
            Some(format!("{} {}", clean(object["apiVersion"].as_str()?), clean(object["kind"].as_str()?)))
        })
        .collect();
    kinds.sort();
    kinds.dedup();
    let there = if kinds.is_empty() { "no Kubernetes object".to_owned() } else { format!("only {}", kinds.join(", ")) };
    Refused::new(format!("there is no {kind} in the input, {there}: give a manifest of {form} {kind}"))
}
