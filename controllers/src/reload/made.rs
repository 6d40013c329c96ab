//! Whether a Job was made anew since a version: answered from what the API server still knows of what happened to it. Not what
//! follows from it.

use serde_json::{Value, json};
use trimtab::Reader;
use trimtab_crds::names;
use trimtab_plan::Answer;
use trimtab_reload::JobMade;

/// How long the API server tells of it, in seconds: what it knows it says at once.
const SECONDS: u32 = 2;

/// An object with `made`; [`Answer::NotFound`] where the API server does not know any more.
pub(super) async fn answer(reader: &Reader, input: Value) -> Answer {
    let asked: JobMade = match serde_json::from_value(input) {
        Ok(asked) => asked,
        Err(error) => return Answer::Failed(format!("no question: {error}")),
    };
    let JobMade { namespace, job, since, replaces } = &asked;
    let kind = names::JOB;
    let selected = Reader::encoded(&format!("metadata.name={job}"));
    let path = format!(
        "/apis/{}/{}/namespaces/{}/{}?watch=true&resourceVersion={}&timeoutSeconds={SECONDS}&fieldSelector={selected}",
        kind.group,
        kind.version,
        Reader::encoded(namespace),
        kind.plural,
        Reader::encoded(since),
    );
    match reader.events(&path).await {
        Answer::Object(events) => Answer::Object(json!({ "made": was_made(&events, replaces) })),
        other => other,
    }
}

/// Whether any of what happened is of another Job than the one that was replaced.
fn was_made(events: &Value, replaces: &str) -> bool {
    events.as_array().into_iter().flatten().any(|event| {
        let uid = event["object"]["metadata"]["uid"].as_str();
        uid.is_some_and(|uid| uid != replaces)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_job_of_the_name_is_the_one_that_was_made() {
        let event = |kind: &str, uid: &str| json!({"type": kind, "object": {"metadata": {"uid": uid}}});
        assert!(!was_made(&json!([]), "old"));
        assert!(!was_made(&json!([event("MODIFIED", "old"), event("DELETED", "old")]), "old"));
        assert!(was_made(&json!([event("DELETED", "old"), event("ADDED", "new"), event("DELETED", "new")]), "old"));
        assert!(!was_made(&json!([{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}]), "old"));
    }
}
