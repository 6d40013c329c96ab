//! Expressions by which annotations name sources. Anybody who may annotate a workload writes them, so their number, length and
//! size are bounded, and each is compiled once. Told from plain names, and from what they can never fit, without compiling
//! anything: that is what watches ask. Not which workload has which.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

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

/// An expression that names sources.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    pub(crate) kind: SourceKind,
    regex: Arc<Regex>,
    /// What it is noted as.
    pub(crate) id: String,
}

impl Expression {
    /// Whether it names a source.
    pub(crate) fn fits(&self, source: &Source) -> bool {
        self.kind == source.kind && self.fits_name(&source.name)
    }

    /// Whether it fits a name.
    pub(crate) fn fits_name(&self, name: &str) -> bool {
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

/// The compiled expressions, so that each is compiled once. Those that were not asked for longest are forgotten; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Expressions(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// By text: what it is, if it is one, and when it was last asked for.
    all: HashMap<Box<str>, (Option<Arc<Regex>>, u64)>,
    asked: u64,
    compiled: usize,
}

impl Expressions {
    /// The expression that an entry is; `None` if it is none.
    pub(crate) fn get(&self, kind: SourceKind, entry: &str) -> Option<Expression> {
        let regex = self.regex(entry)?;
        Some(Expression { kind, regex, id: id(kind, entry) })
    }

    fn regex(&self, entry: &str) -> Option<Arc<Regex>> {
        if entry.len() > LONGEST {
            return None;
        }
        if let Some(known) = self.known(entry) {
            return known;
        }
        // Beside the lock: nobody waits for it.
        let compiled = compile(entry).map(Arc::new);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.compiled += 1;
        if kept.all.len() >= KEPT {
            let oldest = kept.all.iter().min_by_key(|(_, (_, asked))| *asked).map(|(text, _)| text.clone());
            oldest.into_iter().for_each(|text| _ = kept.all.remove(&text));
        }
        let asked = kept.asked;
        kept.all.insert(entry.into(), (compiled.clone(), asked));
        compiled
    }

    fn known(&self, entry: &str) -> Option<Option<Arc<Regex>>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.asked += 1;
        let now = kept.asked;
        let (regex, asked) = kept.all.get_mut(entry)?;
        *asked = now;
        Some(regex.clone())
    }

    /// How many were compiled so far.
    pub fn compiled(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).compiled
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
        assert!(Expressions::default().get(SourceKind::Secret, &"a+".repeat(LONGEST)).is_none());
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
            assert!(all.get(SourceKind::ConfigMap, "a.*b").is_none_or(|one| one.fits_name("acb")));
            assert!(all.get(SourceKind::ConfigMap, "[").is_none());
        }
        assert_eq!(all.compiled(), 2);
        for n in 0..1_000 {
            all.get(SourceKind::Secret, &format!("{n}+"));
            all.get(SourceKind::ConfigMap, "a.*b");
        }
        assert_eq!(all.compiled(), 1_002);
        assert!(all.0.lock().unwrap().all.len() <= KEPT);
    }
}
