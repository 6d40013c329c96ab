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
pub enum NoSelector {
    /// It cannot be read.
    Unread(String),
    /// It selects nothing, whatever there is: what it asks of this label excludes itself.
    Contradiction(String, String),
}

impl fmt::Display for NoSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread(text) => {
                write!(f, "{text:?} is no label selector: write for example app=web,tier in (a, b),!canary")
            }
            Self::Contradiction(text, key) => write!(
                f,
                "{text:?} selects nothing: all of it must hold, and no object's label {key} is all that it asks for; for either \
                 of two values write {key} in (a, b)"
            ),
        }
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
        // Reloader reads a list of comma-separated values, in which quotes may stand; its chart writes them.
        let text = &text.replace('"', "");
        let shown = || text.chars().take(300).collect();
        let terms = split(text).into_iter().map(str::trim).filter(|term| !term.is_empty());
        let read = terms.map(|term| requirement(term).ok_or_else(|| NoSelector::Unread(shown())));
        let all: Vec<Requirement> = read.collect::<Result<_, _>>()?;
        match all.iter().find(|one| !can_hold(&one.key, &all)) {
            Some(one) => Err(NoSelector::Contradiction(shown(), one.key.clone())),
            None => Ok(Self(all)),
        }
    }
}

/// Whether there is a value, or none, of a label that fits all that is asked of it.
fn can_hold(key: &str, all: &[Requirement]) -> bool {
    let asked: Vec<&Is> = all.iter().filter(|one| one.key == key).map(|one| &one.is).collect();
    if asked.iter().all(|is| matches!(is, Is::Absent | Is::NotIn(_))) {
        return true;
    }
    if asked.contains(&&Is::Absent) {
        return false;
    }
    let fits = |value: &String| {
        asked.iter().all(|is| match is {
            Is::In(values) => values.contains(value),
            Is::NotIn(values) => !values.contains(value),
            Is::There | Is::Absent => true,
        })
    };
    let mut listed = asked.iter().filter_map(|is| if let Is::In(values) = is { Some(values) } else { None });
    listed.next().is_none_or(|values| values.iter().any(fits))
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
    let one = |value: &str| BTreeSet::from([value.trim().to_owned()]);
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
            "\"app=web\"",
            "\"app=web\",\"tier=a\"",
            "\"tier in (a,b)\",app",
            "app=\"web\"",
        ] {
            assert!(matches(yes, &web), "{yes}");
        }
        for no in ["app=db", "app!=web", "canary", "!app", "tier in (b,c)", "tier notin (a)", "app=web,tier=b", "x=*"] {
            assert!(!matches(no, &web), "{no}");
        }
    }

    #[test]
    fn what_can_select_nothing_is_refused_and_says_which_label() {
        let key = |selector: &str| match selector.parse::<LabelSelector>() {
            Err(NoSelector::Contradiction(_, key)) => key,
            other => format!("{other:?}"),
        };
        for (selector, expected) in [
            ("scope=application,scope=testing", "scope"),
            ("a,b=1,b!=1", "b"),
            ("a in (x,y),a in (z)", "a"),
            ("a in (x,y),a notin (x,y)", "a"),
            ("!a,a=1", "a"),
            ("a,!a", "a"),
            ("a:x,a=y", "a"),
        ] {
            assert_eq!(key(selector), expected, "{selector}");
        }
        for fine in
            ["a=x,a=x", "a in (x,y),a!=x", "a,a=x", "!a,a!=x", "a=x,b=y", "a in (x,y),a in (y,z)", "a,a notin (x)"]
        {
            assert!(fine.parse::<LabelSelector>().is_ok(), "{fine}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["a b", "=x", "a in b", "!", "a in (b"] {
            assert!(bad.parse::<LabelSelector>().is_err(), "{bad}");
        }
    }
}
