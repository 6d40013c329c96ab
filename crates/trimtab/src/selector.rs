//! Selectors: which objects of a kind are watched, and whether as a whole. Not the matching itself, which the API server does.

use std::collections::BTreeMap;

/// Limits a watch to some objects of a kind, by the API server's label and field selectors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    labels: String,
    fields: String,
    metadata_only: bool,
}

impl Selector {
    /// All objects.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those whose labels match, in kubectl's syntax: `app=web,tier in (a, b),!canary`.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self { labels: selector.into(), ..Self::default() }
    }

    /// Those whose fields match too: `metadata.name=web`.
    #[must_use]
    pub fn fields(mut self, selector: impl Into<String>) -> Self {
        self.fields = selector.into();
        self
    }

    /// Of each only its metadata: what else it holds does not even leave the API server.
    #[must_use]
    pub fn metadata_only(mut self) -> Self {
        self.metadata_only = true;
        self
    }

    pub(crate) fn is_metadata_only(&self) -> bool {
        self.metadata_only
    }

    pub(crate) fn label_selector(&self) -> &str {
        &self.labels
    }

    pub(crate) fn field_selector(&self) -> &str {
        &self.fields
    }

    /// Whether an object with these labels is selected for certain; "no" may also mean "cannot tell".
    pub(crate) fn surely_matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let term = |term: &str| match term.trim().split_once('=') {
            Some((name, value)) if !name.ends_with('!') => {
                labels.get(name.trim()).is_some_and(|v| v == value.trim_start_matches('=').trim())
            }
            _ => labels.contains_key(term.trim()),
        };
        self.fields.is_empty() && (self.labels.is_empty() || self.labels.split(',').all(term))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certain_matches_count() {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let sure = |selector: &str| Selector::labels(selector).surely_matches(&labels);
        assert!(sure("") && sure("app=web") && sure("app == web") && sure("app"));
        assert!(!sure("app=db") && !sure("app!=db") && !sure("!canary") && !sure("app in (web, db)"));
        assert!(!Selector::all().fields("metadata.name=x").surely_matches(&labels));
    }
}
