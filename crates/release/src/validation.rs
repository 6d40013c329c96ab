//! Whether changed configuration is as the namespace's ConfigPolicies ask, before anything moves. The looking is done by a
//! question, since no store holds what ConfigMaps and Secrets hold; here it is asked, and the answer is understood.

use std::time::Duration;

use serde_json::json;
use trimtab_config::{Judgement, NamedPolicy, Object, Pin, Source, SourceKind, Validate, Want};
use trimtab_crds::{ConfigKind, ConfigPolicySpec};
use trimtab_plan::Ask;

use crate::{digest::value_digest, draft::Draft, views::ConfigPolicyView};

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

/// Looks at every source of which pods are to read what is live and stable pods do not. That the template names it already proves
/// nothing: it may have been tried and taken back since, or have come with a manifest.
pub(crate) fn validate(draft: &mut Draft<'_>, want: &Want) -> Validity {
    let world = draft.world;
    let template = &world.deployment.spec.template.config;
    // A canary that is judged goes on with what it has.
    let passed = match draft.progress() {
        Some(_) => template.clone(),
        None => world.stable_set(&draft.status).map(|rs| rs.spec.template.config.clone()).unwrap_or_default(),
    };
    let mut result = Validity::Allowed;
    for (source, pin) in &want.pins.0 {
        if passed.get(source) == Some(pin) || want.live.get(source) != Some(pin) {
            continue;
        }
        let live = world.seen.sources.get(source).and_then(|known| known.live.as_ref()).map(AsRef::as_ref);
        let Some(live) = live else { continue };
        if let Some(policy) = world.seen.unreadable_policies.first() {
            return not_understood(source, policy);
        }
        let policies = policies_of(&world.seen.policies, source, live);
        if let Some(newer) = policies.iter().find(|policy| !policy.newer.spec.is_empty()) {
            let paths: Vec<&str> = newer.newer.spec.iter().map(String::as_str).collect();
            return not_understood(source, &format!("{} asks for {}", newer.metadata.name, paths.join(", ")));
        }
        if policies.is_empty() {
            continue;
        }
        if let Some(refused) = too_many(source, policies.len()) {
            return refused;
        }
        match judged(draft, source, live, template.get(source), policies) {
            Validity::Allowed => {}
            Validity::Asked => result = Validity::Asked,
            refused @ Validity::Refused { .. } => return refused,
        }
    }
    result
}

/// A policy of another version: what it asks is not known, so nothing is known to be as it asks.
fn not_understood(source: &Source, what: &str) -> Validity {
    let message = format!(
        "ConfigPolicy {what}, which this version of Trimtab does not understand, so {source} is not released: correct the \
         policy, or run the version that does"
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

fn policies_of(
    all: &[std::sync::Arc<ConfigPolicyView>],
    source: &Source,
    live: &Object,
) -> Vec<std::sync::Arc<ConfigPolicyView>> {
    let kind = match source.kind {
        SourceKind::ConfigMap => ConfigKind::ConfigMap,
        SourceKind::Secret => ConfigKind::Secret,
    };
    let selects = |spec: &ConfigPolicySpec| spec.selects(kind, &source.name, &live.metadata.labels);
    all.iter().filter(|policy| policy.metadata.deletion_timestamp.is_none() && selects(&policy.spec)).cloned().collect()
}

fn judged(
    draft: &mut Draft<'_>,
    source: &Source,
    live: &Object,
    before: Option<&Pin>,
    policies: Vec<std::sync::Arc<ConfigPolicyView>>,
) -> Validity {
    let world = draft.world;
    let stable = world.stable_set(&draft.status).and_then(|rs| rs.spec.template.config.get(source).cloned());
    let old = stable.as_ref().or(before).filter(|pin| **pin != Pin::Absent).map(|pin| pin.copy_name(source));
    let versions: Vec<&str> = policies.iter().map(|policy| policy.metadata.resource_version.as_str()).collect();
    let digest = value_digest(&json!([live.metadata.uid, live.metadata.resource_version, old, versions]));
    let id = format!("validate/{source}/{digest}");
    let named =
        |policy: &ConfigPolicyView| NamedPolicy { name: policy.metadata.name.clone(), spec: policy.spec.clone() };
    let question = Validate {
        namespace: world.deployment.metadata.namespace.clone(),
        source: source.clone(),
        resource_version: live.metadata.resource_version.clone(),
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
            understood(source, &judgement)
        }
        Err(why) => {
            // Not asked again at once: an answer that is dropped is asked for anew.
            draft.plan.wake_by(world.now.checked_add(AGAIN).unwrap_or(world.now));
            Validity::Refused {
                reason: "ConfigNotValidated",
                message: format!("{source} could not be validated: {why}"),
            }
        }
    }
}

fn understood(source: &Source, judgement: &Judgement) -> Validity {
    if let Some(bad) = judgement.bad.first() {
        let message = format!(
            "ConfigPolicy {} cannot be used, so {source} is not released: rule {}: {}",
            bad.policy, bad.rule, bad.message
        );
        return Validity::Refused { reason: "ConfigPolicyInvalid", message };
    }
    let Some(first) = judgement.findings.first() else { return Validity::Allowed };
    let more = match judgement.findings.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Validity::Refused {
        reason: "ConfigRefused",
        message: format!("{source} is refused: {first}{more}; correct it, or the policy"),
    }
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
