//! Label selectors as kubectl writes them, and as older versions of Reloader do: `k:v`, `k=*`. Matched here, since what is
//! watched is shared with controllers that need the rest.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use trimtab_plan::TextMap;

/// Which labels an object must have. The default selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    is: Is,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Is {
    There,
    Absent,
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
}

/// Why a text is no selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSelector(String);

impl fmt::Display for NoSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no label selector: write for example app=web,tier in (a, b),!canary", self.0)
    }
}

impl std::error::Error for NoSelector {}

impl LabelSelector {
    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &TextMap) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.is {
                Is::There => value.is_some(),
                Is::Absent => value.is_none(),
                Is::In(values) => value.is_some_and(|value| values.contains(value)),
                Is::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        })
    }
}

impl FromStr for LabelSelector {
    type Err = NoSelector;

    fn from_str(text: &str) -> Result<Self, NoSelector> {
        let no = || NoSelector(text.chars().take(300).collect());
        let terms = split(text).into_iter().map(str::trim).filter(|term| !term.is_empty());
        terms.map(|term| requirement(term).ok_or_else(no)).collect::<Result<_, _>>().map(Self)
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|c| {
        inside = (inside || c == '(') && c != ')';
        c == ',' && !inside
    })
    .collect()
}

fn requirement(term: &str) -> Option<Requirement> {
    let one = |value: &str| BTreeSet::from([value.trim().trim_matches('"').to_owned()]);
    let (key, is) = if let Some(key) = term.strip_prefix('!') {
        (key, Is::Absent)
    } else if let Some((key, values)) = term.split_once(" notin ") {
        (key, Is::NotIn(set(values)?))
    } else if let Some((key, values)) = term.split_once(" in ") {
        (key, Is::In(set(values)?))
    } else if let Some((key, value)) = term.split_once("!=") {
        (key, Is::NotIn(one(value)))
    } else if let Some((key, value)) = term.split_once(['=', ':']) {
        let value = value.trim_start_matches('=').trim();
        (key, if value == "*" { Is::There } else { Is::In(one(value)) })
    } else {
        (term, Is::There)
    };
    let key = key.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
    (!key.is_empty() && key.chars().all(fits)).then(|| Requirement { key: key.to_owned(), is })
}

fn set(text: &str) -> Option<BTreeSet<String>> {
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    Some(inner.split(',').map(|value| value.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().copied().collect();
        selector.parse::<LabelSelector>().unwrap().matches(&labels)
    }

    #[test]
    fn selectors_match_as_kubectl_s_do_and_as_reloader_s_old_ones() {
        let web = [("app", "web"), ("tier", "a")];
        for yes in [
            "",
            "app",
            "app=web",
            "app == web",
            "app!=db",
            "tier in (a, b),app",
            "!canary",
            "x notin (y)",
            "app:web",
            "app=*",
        ] {
            assert!(matches(yes, &web), "{yes}");
        }
        for no in ["app=db", "app!=web", "canary", "!app", "tier in (b,c)", "tier notin (a)", "app=web,tier=b", "x=*"] {
            assert!(!matches(no, &web), "{no}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["a b", "=x", "a in b", "!", "a in (b"] {
            assert!(bad.parse::<LabelSelector>().is_err(), "{bad}");
        }
    }
}
