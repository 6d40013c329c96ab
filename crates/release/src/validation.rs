//! Whether the configuration of a release is as the namespace's ConfigPolicies ask, before anything moves. The looking is done by a
//! question, since no store holds what ConfigMaps and Secrets hold; here it is asked, and the answer is understood.

use std::time::Duration;

use serde_json::json;
use trimtab_config::{
    Judgement, Known, NamedPolicy, Object, Pin, Problem, Reference, Source, SourceKind, SourceView, Validate, Want,
    problem,
};
use trimtab_crds::{ConfigKind, ConfigPolicySpec};
use trimtab_plan::{Ask, TextMap};

use crate::{digest::value_digest, draft::Draft, template::Template, views::ConfigPolicyView};

/// How long one source may take to be looked at, in seconds.
const TIMEOUT: u32 = 20;
/// When a question that could not be answered is asked again.
const AGAIN: Duration = Duration::from_secs(10);

/// The most policies about one source.
const POLICIES: usize = 50;

/// What came of it.
pub(crate) enum Validity {
    /// Nothing stands against it.
    Allowed,
    /// The answer is not here yet.
    Asked,
    /// It is not to be released.
    Refused { reason: &'static str, message: String },
}

/// What pods of the release read of a source.
struct Reading<'r> {
    source: &'r Source,
    object: &'r Object,
    by: By<'r>,
}

/// How they read it.
#[derive(Clone, Copy)]
enum By<'r> {
    /// As it is live, and frozen.
    Copied,
    /// As it was kept: the revision of this pin, which is not what is live. Whoever made it.
    Kept(&'r Pin),
    /// Live, for as long as they run.
    Live,
}

impl Reading<'_> {
    /// What is read, in a person's words.
    fn words(&self) -> String {
        match self.by {
            By::Copied => self.source.to_string(),
            By::Kept(pin) => format!("revision {pin} of {}", self.source),
            By::Live => format!("{}, which is read live,", self.source),
        }
    }

    /// What to do where it is refused.
    fn advice(&self) -> &'static str {
        match self.by {
            By::Kept(_) => "it is kept as it was: let the policy allow it, or release another",
            By::Copied | By::Live => "correct it, or the policy",
        }
    }
}

/// Looks at whatever pods of the release will read and stable pods do not, by whatever name: what is live, a revision that is kept,
/// and what is read live. That the template names it already proves nothing: it may have been tried and taken back since, or
/// have come with a manifest, and so may what only looks like a revision. `stamps`: the template gets the pins that it is to have.
pub(crate) fn validate(draft: &mut Draft<'_>, want: &Want, stamps: bool) -> Validity {
    let world = draft.world;
    let template = &world.deployment.spec.template;
    let mut result = Validity::Allowed;
    for (source, reference) in &template.reads.sources {
        let pin = if stamps { want.pins.get(source) } else { template.config.get(source) };
        let Some(known) = world.seen.sources.get(source).filter(|_| !is_read(draft, source, pin)) else { continue };
        if pin.is_none() && known.unseen && concerns_some(draft, source) {
            let unseen = Problem::Unseen(source.clone());
            return Validity::Refused { reason: unseen.reason(), message: unseen.to_string() };
        }
        let reading = match reading(source, reference, known, pin, want.live.get(source)) {
            Ok(Some(reading)) => reading,
            Ok(None) => continue,
            Err(problem) => return Validity::Refused { reason: problem.reason(), message: problem.to_string() },
        };
        if let Some(policy) = world.seen.unreadable_policies.first() {
            return not_understood(&reading, policy);
        }
        let labels = known.live.as_ref().map(|live| &live.as_ref().metadata.labels);
        let policies = policies_of(&world.seen.policies, source, labels);
        if let Some(newer) = policies.iter().find(|policy| !policy.newer.spec.is_empty()) {
            let paths: Vec<&str> = newer.newer.spec.iter().map(String::as_str).collect();
            return not_understood(&reading, &format!("{} asks for {}", newer.metadata.name, paths.join(", ")));
        }
        if policies.is_empty() {
            continue;
        }
        if let Some(refused) = too_many(source, policies.len()) {
            return refused;
        }
        match judged(draft, &reading, policies) {
            Validity::Allowed => {}
            Validity::Asked => result = Validity::Asked,
            refused @ Validity::Refused { .. } => return refused,
        }
    }
    result
}

/// Whether a policy may be about a source that is not looked at.
fn concerns_some(draft: &Draft<'_>, source: &Source) -> bool {
    let seen = draft.world.seen;
    !seen.unreadable_policies.is_empty() || !policies_of(&seen.policies, source, None).is_empty()
}

/// Whether there are pods that read this: a canary that is judged goes on with what it has, and what stable pods read is theirs. What
/// they read live may be another by now.
fn is_read(draft: &Draft<'_>, source: &Source, pin: Option<&Pin>) -> bool {
    let world = draft.world;
    if draft.progress().is_some() {
        return world.deployment.spec.template.config.get(source) == pin;
    }
    let stable = world.stable_set(&draft.status).map(|rs| &rs.spec.template);
    let reads = |stable: &&Template| stable.reads.sources.contains_key(source);
    pin.is_some() && stable.filter(reads).is_some_and(|stable| stable.config.get(source) == pin)
}

/// What is read of a source by a pin, or without one. `None`: nothing.
fn reading<'r>(
    source: &'r Source,
    reference: &Reference,
    known: &'r Known<SourceView>,
    pin: Option<&'r Pin>,
    live: Option<&Pin>,
) -> Result<Option<Reading<'r>>, Problem> {
    let object = known.live.as_ref().map(AsRef::as_ref);
    let Some(pin) = pin else { return Ok(object.map(|object| Reading { source, object, by: By::Live })) };
    if let Some(problem) = problem(source, reference, known, pin, live.unwrap_or(&Pin::Absent)) {
        return Err(problem);
    }
    if live == Some(pin) {
        return Ok(object.map(|object| Reading { source, object, by: By::Copied }));
    }
    let mut copies = known.copies.iter().map(AsRef::as_ref);
    let object = copies.find(|copy| copy.metadata.name == pin.copy_name(source));
    Ok(object.map(|object| Reading { source, object, by: By::Kept(pin) }))
}

/// A policy of another version: what it asks is not known, so nothing is known to be as it asks.
fn not_understood(reading: &Reading<'_>, what: &str) -> Validity {
    let message = format!(
        "ConfigPolicy {what}, which this version of Trimtab does not understand, so {} is not released: correct the policy, or \
         run the version that does",
        reading.words()
    );
    Validity::Refused { reason: "ConfigPolicyInvalid", message }
}

/// So many that their specs together are more than a question should hold.
fn too_many(source: &Source, policies: usize) -> Option<Validity> {
    let message = format!(
        "{policies} ConfigPolicies are about {source}, which is more than {POLICIES}, so it is not released: put their rules \
         together, or select fewer sources in them"
    );
    (policies > POLICIES).then_some(Validity::Refused { reason: "ConfigPolicyInvalid", message })
}

/// The policies about a source. Where it is not there any more, its labels are not known, and whatever could be about it is.
fn policies_of(
    all: &[std::sync::Arc<ConfigPolicyView>],
    source: &Source,
    labels: Option<&TextMap>,
) -> Vec<std::sync::Arc<ConfigPolicyView>> {
    let kind = match source.kind {
        SourceKind::ConfigMap => ConfigKind::ConfigMap,
        SourceKind::Secret => ConfigKind::Secret,
    };
    let selects = |spec: &ConfigPolicySpec| match labels {
        Some(labels) => spec.selects(kind, &source.name, labels),
        None => spec.may_select(kind, &source.name),
    };
    all.iter().filter(|policy| policy.metadata.deletion_timestamp.is_none() && selects(&policy.spec)).cloned().collect()
}

fn judged(draft: &mut Draft<'_>, reading: &Reading<'_>, policies: Vec<std::sync::Arc<ConfigPolicyView>>) -> Validity {
    let world = draft.world;
    let (source, read) = (reading.source, &reading.object.metadata);
    let stable = world.stable_set(&draft.status).and_then(|rs| rs.spec.template.config.get(source));
    let old = stable.filter(|pin| **pin != Pin::Absent).map(|pin| pin.copy_name(source));
    let versions: Vec<&str> = policies.iter().map(|policy| policy.metadata.resource_version.as_str()).collect();
    let digest = value_digest(&json!([read.uid, read.resource_version, old, versions]));
    let id = format!("validate/{source}/{digest}");
    let named =
        |policy: &ConfigPolicyView| NamedPolicy { name: policy.metadata.name.clone(), spec: policy.spec.clone() };
    let question = Validate {
        namespace: world.deployment.metadata.namespace.clone(),
        source: source.clone(),
        copy: matches!(reading.by, By::Kept(_)).then(|| read.name.clone()),
        resource_version: read.resource_version.clone(),
        old,
        policies: policies.iter().map(|policy| named(policy)).collect(),
    };
    let ask = Ask { id: id.clone(), question: question.question(), timeout_seconds: TIMEOUT };
    let Some(answer) = world.seen.answers.get(&id) else {
        draft.plan.asks.push(ask);
        return Validity::Asked;
    };
    match Judgement::read(answer) {
        // Gone, or another version by now: the stores will tell, and ask about that one.
        Ok(None) => Validity::Asked,
        Ok(Some(judgement)) if judgement.changed => Validity::Asked,
        Ok(Some(judgement)) => {
            draft.plan.asks.push(ask);
            understood(reading, &judgement)
        }
        Err(why) => {
            // Not asked again at once: an answer that is dropped is asked for anew.
            draft.plan.wake_by(world.now.checked_add(AGAIN).unwrap_or(world.now));
            Validity::Refused {
                reason: "ConfigNotValidated",
                message: format!("{} could not be validated: {why}", reading.words()),
            }
        }
    }
}

fn understood(reading: &Reading<'_>, judgement: &Judgement) -> Validity {
    let (words, advice) = (reading.words(), reading.advice());
    if let Some(bad) = judgement.bad.first() {
        let message = format!(
            "ConfigPolicy {} cannot be used, so {} is not released: rule {}: {}",
            bad.policy, words, bad.rule, bad.message
        );
        return Validity::Refused { reason: "ConfigPolicyInvalid", message };
    }
    let Some(first) = judgement.findings.first() else { return Validity::Allowed };
    let more = match judgement.findings.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Validity::Refused { reason: "ConfigRefused", message: format!("{words} is refused: {first}{more}; {advice}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_with_too_many_policies_is_not_released() {
        let source: Source = "cm/web".parse().unwrap();
        assert!(too_many(&source, POLICIES).is_none());
        let Some(Validity::Refused { reason, message }) = too_many(&source, POLICIES + 1) else { panic!("it is") };
        assert_eq!(reason, "ConfigPolicyInvalid");
        assert!(message.starts_with("51 ConfigPolicies are about cm/web, which is more than 50"), "{message}");
    }
}
