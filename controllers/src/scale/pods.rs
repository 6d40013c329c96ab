//! Which pods a target's selector fits, and whose they are. Who may make pods and labels decides how many there are: they are
//! counted before they are looked at, no more are taken than a decision may have to do with, and nothing of one is copied but its name.

use std::sync::Arc;

use trimtab_crds::{MetricSelector, names};
use trimtab_plan::TextMap;
use trimtab_reload::LabelSelector;
use trimtab_scale::{OwnerView, PodView, SAMPLES, SELECTOR, ScalePod, selects};

use super::target::id;

/// From how many pods on that have to be looked at it is done apart.
pub(super) const MANY: usize = 500;

/// Which pods are a target's.
pub(super) enum Selected {
    Read(MetricSelector),
    Asked(String, LabelSelector),
}

impl Selected {
    /// By the selector of a target. `None` for one that is longer than is heeded, since every pod would be compared with all of it, and
    /// for an empty one, which tells nobody's pods from others.
    pub(super) fn read(selector: &MetricSelector) -> Option<Self> {
        let labels = selector.match_labels.iter().map(|(name, value)| name.len() + value.len());
        let more = selector.match_expressions.iter().map(|one| {
            let values = one.values.iter().map(|value| value.len() + 1);
            one.key.len() + values.sum::<usize>()
        });
        // With what the API server's query has between them it is longer still, and the decision says so.
        let length = labels.chain(more).try_fold(0, |sum, next| Some(sum + next).filter(|sum| *sum <= SELECTOR));
        length.filter(|length| *length > 0).map(|_| Self::Read(selector.clone()))
    }

    /// By the selector of a scale.
    pub(super) fn asked(selector: String) -> Option<Self> {
        let parsed = if (1..=SELECTOR).contains(&selector.len()) { selector.parse().ok() } else { None };
        parsed.map(|parsed| Self::Asked(selector, parsed))
    }

    pub(super) fn matches(&self, labels: &TextMap) -> bool {
        match self {
            Self::Read(selector) => selects(selector, labels),
            Self::Asked(_, selector) => selector.matches(labels),
        }
    }

    /// Labels that all of them have.
    pub(super) fn labels(&self) -> Vec<(String, String)> {
        match self {
            Self::Read(selector) => selector.match_labels.iter().map(|(n, v)| (n.clone(), v.clone())).collect(),
            Self::Asked(text, _) => {
                let plain = |term: &&str| term.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=".contains(c));
                let terms = text.split(',').map(str::trim).filter(plain).filter(|term| term.matches('=').count() == 1);
                let pair = |term: &str| term.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
                terms.filter_map(pair).collect()
            }
        }
    }
}

/// Of labels the one that fewest have, and how many: of many pods with one label in common, the others tell them apart.
pub(super) fn rarest(
    labels: impl Iterator<Item = String>,
    count: impl Fn(&String) -> usize,
) -> Option<(String, usize)> {
    // The hash of a template is in no index: whatever has it has other labels as well.
    let indexed = labels.filter(|label| !label.contains("-template-hash="));
    indexed.map(|label| (count(&label), label)).min().map(|(count, label)| (label, count))
}

/// The pods that a selector fits, by name. Of more than a decision may have to do with, so many that it is told.
pub(super) fn fitting<'p>(
    candidates: impl Iterator<Item = &'p ScalePod>,
    selected: &Selected,
    view: impl Fn(&ScalePod) -> Arc<PodView>,
) -> Vec<Arc<PodView>> {
    let fits = candidates.filter(|pod| selected.matches(&pod.metadata.labels));
    let mut found: Vec<Arc<PodView>> = fits.take(SAMPLES + 1).map(view).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// A pod with whose it is: the target's with this uid, its canary's, or somebody else's.
pub(super) fn whose(pod: &ScalePod, set: Option<&OwnerView>, uid: &str, target: &str) -> Arc<PodView> {
    let direct = pod.metadata.controller().is_some_and(|owner| owner.uid == uid);
    let through = |set: &OwnerView| set.metadata.controller().is_some_and(|owner| owner.uid == uid);
    let owned = direct || set.is_some_and(through);
    // A canary that the Deployment has taken over is its own from then on.
    let canary = !owned
        && set.and_then(|set| set.canary_of.as_ref()).is_some_and(|name| {
            target == id(&pod.metadata.namespace, names::DEPLOYMENT.group, names::DEPLOYMENT.kind, name)
        });
    if owned {
        return pod.view.clone();
    }
    // What a pod's containers request is shared, and not copied.
    Arc::new(PodView { owned, canary, ..(*pod.view).clone() })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::json;

    use super::*;

    fn pod(number: usize, app: &str) -> ScalePod {
        let name = format!("p{number:06}");
        let metadata = json!({"name": name, "namespace": "shop", "uid": name, "labels": {"app": app, "n": (number % 7).to_string()}});
        let container = json!({"name": "a", "resources": {"requests": {"cpu": "1"}}});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"containers": [container]}})).unwrap()
    }

    fn selected(labels: &[(&str, &str)]) -> Selected {
        let labels: serde_json::Map<String, serde_json::Value> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        Selected::Read(serde_json::from_value(json!({ "matchLabels": labels })).unwrap())
    }

    #[test]
    fn of_very_many_pods_no_more_are_taken_than_a_decision_may_have_to_do_with() {
        let all: Vec<ScalePod> = (0..SAMPLES * 2).rev().map(|number| pod(number, "web")).collect();
        let (web, views) = (selected(&[("app", "web")]), Cell::new(0));
        let view = |pod: &ScalePod| {
            views.set(views.get() + 1);
            whose(pod, None, "d", "target")
        };
        let found = fitting(all.iter(), &web, view);
        assert_eq!(
            (found.len(), views.get()),
            (SAMPLES + 1, SAMPLES + 1),
            "one more than it may be tells that it is too many"
        );
        assert_eq!(fitting(all[..50].iter(), &web, view).len(), 50);
        assert!(fitting(all.iter(), &selected(&[("app", "other")]), view).is_empty());
    }

    #[test]
    fn with_a_selector_that_is_too_long_or_empty_no_pod_is_compared() {
        let absent = |count: usize| {
            let keys = (0..count).map(|n| json!({"key": format!("key-{n:04}"), "operator": "DoesNotExist"}));
            let keys: Vec<serde_json::Value> = keys.collect();
            serde_json::from_value(json!({"matchLabels": {"app": "web"}, "matchExpressions": keys})).unwrap()
        };
        let (short, long): (MetricSelector, MetricSelector) = (absent(SELECTOR / 16), absent(SELECTOR / 8));
        assert!(Selected::read(&short).is_some() && Selected::read(&long).is_none());
        assert!(trimtab_scale::query_of(&long).len() > SELECTOR, "what is not compared is told");
        assert!(Selected::asked("a".repeat(SELECTOR + 1)).is_none());
        assert!(Selected::asked(String::new()).is_none() && Selected::read(&MetricSelector::default()).is_none());
    }

    #[test]
    fn of_somebody_else_s_pod_nothing_is_copied_but_its_name() {
        let pod = pod(1, "web");
        let foreign = whose(&pod, None, "d", "target");
        assert!(!foreign.owned && !foreign.canary);
        assert!(Arc::ptr_eq(&foreign.containers, &pod.view.containers));
    }

    #[test]
    fn pods_are_looked_for_under_the_label_that_fewest_have() {
        let count = |label: &String| match label.as_str() {
            "shop/app=batch" => 25_000,
            "shop/job=7" => 50,
            _ => 0,
        };
        let labels = |all: &[&str]| all.iter().map(|label| format!("shop/{label}")).collect::<Vec<_>>().into_iter();
        let found = |all: &[&str]| rarest(labels(all), count);
        assert_eq!(found(&["app=batch", "job=7"]), Some(("shop/job=7".to_owned(), 50)));
        assert_eq!(found(&["app=batch", "pod-template-hash=1"]), Some(("shop/app=batch".to_owned(), 25_000)));
        assert_eq!(found(&["app=batch", "job=none"]), Some(("shop/job=none".to_owned(), 0)), "and then there are none");
        assert_eq!(found(&[]), None);
        let asked = |text: &str| Selected::Asked(text.to_owned(), text.parse().unwrap()).labels();
        assert_eq!(asked("app=web,tier in (a,b),x!=y,job=7").len(), 2);
    }
}
