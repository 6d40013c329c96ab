//! Expressions by which annotations name sources. Anybody who may annotate a workload writes them, so their number, length and
//! size are bounded, and each is compiled once. Told from plain names, and from what they can never fit, without compiling
//! anything: that is what watches ask. Not which workload has which.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use regex_automata::meta::{Config, Regex};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::syntax;
use sha2::{Digest as _, Sha256};
use trimtab_config::{Source, SourceKind};

/// How many expressions of a workload count.
pub(crate) const MOST: usize = 32;
/// The letters of the longest that counts.
pub(crate) const LONGEST: usize = 128;
/// The bytes that a compiled one may have, and what it may note while it is compared.
const LARGEST: usize = 16 << 10;
/// How many compiled ones are kept, of all workloads together.
const KEPT: usize = 128;
/// How many of one namespace are.
const OF_A_NAMESPACE: usize = 64;

/// An expression that names sources.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    pub(crate) kind: SourceKind,
    regex: Arc<Regex>,
    /// What it is noted as.
    pub(crate) id: String,
    compared: Arc<AtomicUsize>,
}

impl Expression {
    /// Whether it names a source. That takes as long as whoever wrote the expression likes: up to 0.1 ms.
    pub(crate) fn fits(&self, source: &Source) -> bool {
        self.kind == source.kind && self.fits_name(&source.name)
    }

    fn fits_name(&self, name: &str) -> bool {
        self.compared.fetch_add(1, Ordering::Relaxed);
        self.regex.is_match(name)
    }
}

/// Whether an entry is an expression, and no plain name. To Reloader a dot makes one; to everybody else it is part of a name.
pub(crate) fn is_expression(entry: &str) -> bool {
    !entry.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
}

/// Whether an expression may fit a name, as far as the letters tell that it begins with. Never wrongly `false`.
pub(crate) fn may_fit(expression: &str, name: &str) -> bool {
    name.starts_with(prefix(expression))
}

/// What every name begins with that an expression fits.
fn prefix(expression: &str) -> &str {
    // Alternatives, and flags that make letters stand for others.
    if expression.contains('|') || expression.contains("(?") {
        return "";
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let end = expression.find(|c| !plain(c)).unwrap_or(expression.len());
    // The last letter may belong to what follows: `ab*`.
    let repeated = expression.get(end..).is_some_and(|rest| rest.starts_with(['*', '?', '+', '{']));
    expression.get(..end - usize::from(repeated && end > 0)).unwrap_or_default()
}

/// Ten letters that tell one expression from others.
fn id(kind: SourceKind, entry: &str) -> String {
    let digest = Sha256::new().chain_update(kind.short()).chain_update([0]).chain_update(entry).finalize();
    digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

/// The compiled expressions, so that each is compiled once; cheap to clone. Those that were not asked for longest are forgotten: of
/// the namespace that has too many, or else of the one with most.
#[derive(Debug, Clone, Default)]
pub struct Expressions {
    kept: Arc<Mutex<HashMap<String, Vec<Kept>>>>,
    compiled: Arc<AtomicUsize>,
    compared: Arc<AtomicUsize>,
}

/// A text, and the expression that it is, if it is one.
type Kept = (Box<str>, Option<Arc<Regex>>);

impl Expressions {
    /// The expression that an entry is; `None` if it is none.
    pub(crate) fn get(&self, namespace: &str, kind: SourceKind, entry: &str) -> Option<Expression> {
        let regex = self.regex(namespace, entry)?;
        Some(Expression { kind, regex, id: id(kind, entry), compared: self.compared.clone() })
    }

    fn regex(&self, namespace: &str, entry: &str) -> Option<Arc<Regex>> {
        if entry.len() > LONGEST {
            return None;
        }
        if let Some(known) = self.known(namespace, entry) {
            return known;
        }
        // Beside the lock: nobody waits for it.
        let compiled = compile(entry).map(Arc::new);
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.kept();
        let own = kept.entry(namespace.to_owned()).or_default();
        own.push((entry.into(), compiled.clone()));
        if own.len() > OF_A_NAMESPACE {
            own.remove(0);
        }
        if kept.values().map(Vec::len).sum::<usize>() > KEPT
            && let Some(most) = kept.values_mut().max_by_key(|own| own.len())
        {
            most.remove(0);
        }
        kept.retain(|_, own| !own.is_empty());
        compiled
    }

    fn known(&self, namespace: &str, entry: &str) -> Option<Option<Arc<Regex>>> {
        let mut kept = self.kept();
        let own = kept.get_mut(namespace)?;
        let at = own.iter().position(|(text, _)| **text == *entry)?;
        let found = own.remove(at);
        let regex = found.1.clone();
        own.push(found);
        Some(regex)
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Vec<Kept>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many were compiled so far.
    pub fn compiled(&self) -> usize {
        self.compiled.load(Ordering::Relaxed)
    }

    /// How often one was compared with a name so far.
    pub fn compared(&self) -> usize {
        self.compared.load(Ordering::Relaxed)
    }
}

/// Names of sources are ASCII: classes are too, as in Reloader's expressions, and small.
fn compile(entry: &str) -> Option<Regex> {
    let config = Config::new()
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(Some(LARGEST))
        .hybrid_cache_capacity(LARGEST)
        .utf8_empty(false)
        .auto_prefilter(false)
        .onepass(false)
        .dfa(false);
    let syntax = syntax::Config::new().unicode(false).utf8(false).nest_limit(32);
    let mut builder = Regex::builder();
    builder.configure(config).syntax(syntax).build(&format!("^(?:{entry})$")).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fits(expression: &str, name: &str) -> Option<bool> {
        Some(compile(expression)?.is_match(name))
    }

    #[test]
    fn expressions_fit_whole_names() {
        for (expression, name, expected) in [
            ("plugin-.*", "plugin-a", Some(true)),
            ("plugin-.*", "my-plugin-a", Some(false)),
            (r"web\d+", "web12", Some(true)),
            (r"\w+", "web", Some(true)),
            ("a|b", "ab", Some(false)),
            ("(?i)WEB", "web", Some(true)),
            ("[a-c]x", "bx", Some(true)),
            ("[", "a", None),
            ("((((a{40}){40}){40}){40})", "a", None),
        ] {
            assert_eq!(fits(expression, name), expected, "{expression} {name}");
        }
        assert!(Expressions::default().get("ns", SourceKind::Secret, &"a+".repeat(LONGEST)).is_none());
    }

    proptest! {
        #[test]
        fn what_cannot_fit_by_its_beginning_does_not(
            expression in r"[a-b\-0]{0,3}[|*?+.(\[\\d]{0,2}[ab]{0,2}[*+?|]?", name in "[ab0-]{0,5}"
        ) {
            prop_assert!(may_fit(&expression, &name) || fits(&expression, &name) != Some(true));
        }
    }

    #[test]
    fn each_is_compiled_once_and_few_are_kept() {
        let all = Expressions::default();
        for _ in 0..100 {
            assert!(all.get("ns", SourceKind::ConfigMap, "a.*b").is_none_or(|one| one.fits_name("acb")));
            assert!(all.get("ns", SourceKind::ConfigMap, "[").is_none());
            assert!(all.get("calm", SourceKind::ConfigMap, "c+").is_some());
        }
        assert_eq!(all.compiled(), 3);
        for n in 0..1_000 {
            all.get("ns", SourceKind::Secret, &format!("{n}+"));
            all.get("ns", SourceKind::ConfigMap, "a.*b");
        }
        assert_eq!(all.compiled(), 1_003);
        all.get("calm", SourceKind::ConfigMap, "c+");
        assert_eq!(all.compiled(), 1_003, "a crowd pushed out another namespace's");
        for n in 0..10 {
            (0..60).for_each(|m| _ = all.get(&format!("ns-{n}"), SourceKind::Secret, &format!("{m}+")));
        }
        let kept = all.kept();
        assert!(kept.values().all(|own| own.len() <= OF_A_NAMESPACE) && kept.contains_key("calm"));
        assert!(kept.values().map(Vec::len).sum::<usize>() <= KEPT);
    }
}
