//! What has to be granted for a metric or a scale that the API server refuses: their names are users' own, so no role that is
//! generated can hold them. Not whether they are refused.

use std::fmt;

use trimtab::Reader;

/// One permission that a user grants.
pub(super) struct Grant<'a> {
    pub(super) group: &'a str,
    pub(super) resource: String,
    pub(super) verbs: &'static str,
    /// Where the chart's values say so.
    pub(super) value: String,
}

impl<'a> Grant<'a> {
    /// A metric of pods or of an object in the API of custom metrics.
    pub(super) fn custom(group: &'static str, resource: String) -> Self {
        let value = format!("autoscaler.customMetrics: [{resource}]");
        Self { group, resource, verbs: "get", value }
    }

    /// A metric of the API of external metrics.
    pub(super) fn external(group: &'static str, name: &str) -> Self {
        Self { group, resource: name.to_owned(), verbs: "list", value: format!("autoscaler.externalMetrics: [{name}]") }
    }

    /// Why a read failed, and what to grant if that is why.
    pub(super) fn explain(&self, why: String) -> String {
        if Reader::is_forbidden(&why) { format!("{why}: {self}") } else { why }
    }

    /// The scale of a kind.
    pub(super) fn scale(group: &'a str, plural: &str) -> Self {
        let value = format!("autoscaler.targets: [{{group: {group}, resource: {plural}}}]");
        Self { group, resource: format!("{plural}/scale"), verbs: "get, patch", value }
    }
}

impl fmt::Display for Grant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, resource, verbs, value } = self;
        write!(
            f,
            "grant it by a rule with apiGroups: [{group}], resources: [{resource}], verbs: [{verbs}]; with the \
             chart by {value}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_refused_is_to_be_granted() {
        let grant = Grant::custom("custom.metrics.k8s.io", "pods/rps".to_owned());
        assert_eq!(
            grant.explain("x could not be read: 404 Not Found: no".to_owned()),
            "x could not be read: 404 Not Found: no"
        );
        assert_eq!(
            grant.explain("x could not be read: 403 Forbidden: no".to_owned()),
            "x could not be read: 403 Forbidden: no: grant it by a rule with apiGroups: [custom.metrics.k8s.io], \
             resources: [pods/rps], verbs: [get]; with the chart by autoscaler.customMetrics: [pods/rps]"
        );
        assert!(Grant::scale("example.com", "queues").to_string().contains("[queues/scale], verbs: [get, patch]"));
        assert!(Grant::external("external.metrics.k8s.io", "depth").to_string().contains("[depth], verbs: [list]"));
    }
}
