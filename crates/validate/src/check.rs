//! One object against one policy: every value against every rule that covers its key. Not what the rules compile to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use trimtab_crds::ConfigFormat;

use crate::compile::{Compiled, Rule};
use crate::data::{Finding, SourceData, sentence};
use crate::format::{Parsed, parse};
use crate::isolated::{Failed, attempt, isolated};
use crate::meter::{self, Exhausted};

/// Findings of one check; more help nobody.
pub(crate) const FINDINGS: usize = 100;
/// Keys of an object that is checked.
pub(crate) const KEYS: usize = 10_000;
/// What is said of a Secret's value: what was found might tell the value.
const OF_A_SECRET: &str = "the value is not as the rule asks; what was found is not told of a Secret";

/// What is wrong with a value, where it is known.
struct Wrong {
    line: Option<u32>,
    message: String,
}

/// What a check has come to: it is there also if the deadline passes.
#[derive(Default)]
struct Progress {
    found: Vec<Finding>,
    /// The key and the rule that are being looked at.
    at: Option<(String, String)>,
}

impl Compiled {
    /// Checks an object; `old` is what it held before, if it is known. Gives nothing where all is well.
    ///
    /// Blocks the calling thread until `deadline` at most; then, as with everything that cannot be evaluated, there is a
    /// finding that says so. A key that is not there is no finding.
    pub fn check(&self, source: &SourceData, old: Option<&SourceData>, deadline: Duration) -> Vec<Finding> {
        if source.data.len() > KEYS {
            let message = format!("not checked: it has more than {KEYS} keys: divide it");
            return vec![Finding { key: "*".to_owned(), line: None, rule: "*".to_owned(), message }];
        }
        let progress = Arc::new(Mutex::new(Progress::default()));
        let (rules, secret, shared) = (self.0.clone(), source.secret, progress.clone());
        let (new, old) = (source.data.clone(), old.map(|old| old.data.clone()).unwrap_or_default());
        let done = isolated(deadline, move || check(&rules, &new, &old, secret, &shared));
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = std::mem::take(&mut progress.found);
        if let Err(failed) = done {
            let (key, rule) = progress.at.clone().unwrap_or(("*".to_owned(), "*".to_owned()));
            found.push(Finding { key, line: None, rule, message: format!("not checked: {failed}") });
        }
        found
    }
}

fn check(
    rules: &[Rule],
    new: &BTreeMap<String, Bytes>,
    old: &BTreeMap<String, Bytes>,
    secret: bool,
    shared: &Mutex<Progress>,
) {
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    for (key, bytes) in new {
        let mut value = Value::new(key, bytes, old.get(key));
        for rule in rules {
            meter::refill();
            // Counted also where it is not about the key, of which there can be many.
            meter::step();
            if !rule.spec.covers(key) {
                continue;
            }
            lock().at = Some((key.clone(), rule.spec.name.clone()));
            let wrong = match attempt(|| value.against(rule)) {
                Ok(wrong) => wrong,
                // Whoever waits says so, once.
                Err(Failed::Exhausted(Exhausted::Cancelled)) => return,
                Err(failed) => vec![Wrong { line: None, message: format!("not checked: {failed}") }],
            };
            let mut progress = lock();
            progress.found.extend(told(wrong, key, rule, secret));
            if progress.found.len() >= FINDINGS {
                progress.found.truncate(FINDINGS);
                return;
            }
        }
    }
}

/// The findings as they may be told.
fn told(wrong: Vec<Wrong>, key: &str, rule: &Rule, secret: bool) -> Vec<Finding> {
    let mut found: Vec<Finding> = wrong
        .into_iter()
        .map(|Wrong { line, message }| {
            let message = match &rule.spec.message {
                Some(own) => sentence(own),
                None if secret => OF_A_SECRET.to_owned(),
                None => sentence(&message),
            };
            let line = line.filter(|_| !secret);
            Finding { key: key.to_owned(), line, rule: rule.spec.name.clone(), message }
        })
        .collect();
    // Of a Secret, how many there are might tell something too.
    found.dedup();
    found
}

/// A value and what it was before, read at most once in every format.
struct Value<'a> {
    key: &'a str,
    text: Result<&'a str, ()>,
    old: Option<&'a str>,
    read: Vec<Read>,
}

/// A value in one format, and what it was before.
struct Read {
    format: Option<ConfigFormat>,
    new: Result<Parsed, Wrong>,
    old: Option<Parsed>,
}

impl<'a> Value<'a> {
    fn new(key: &'a str, bytes: &'a Bytes, old: Option<&'a Bytes>) -> Self {
        let old = old.and_then(|old| std::str::from_utf8(old).ok());
        Self { key, text: std::str::from_utf8(bytes).map_err(drop), old, read: vec![] }
    }

    /// What is wrong with the value by one rule. What cannot be read is not looked at further.
    fn against(&mut self, rule: &Rule) -> Vec<Wrong> {
        let Ok(text) = self.text else {
            return vec![Wrong { line: None, message: "the value is not text in UTF-8".to_owned() }];
        };
        let (key, format) = (self.key, rule.spec.format);
        let (parsed, old) = match self.read(text, format) {
            (Ok(parsed), old) => (parsed, old),
            (Err(wrong), _) => return vec![Wrong { line: wrong.line, message: wrong.message.clone() }],
        };
        let mut wrong = vec![];
        if let Some(pattern) = &rule.pattern {
            let message = match pattern.fits(text) {
                Ok(true) => None,
                Ok(false) => Some("the value does not match the pattern as a whole".to_owned()),
                Err(why) => Some(format!("not checked: {why}")),
            };
            wrong.extend(message.map(|message| Wrong { line: None, message }));
        }
        for (index, document) in parsed.documents.iter().enumerate() {
            if wrong.len() >= FINDINGS {
                break;
            }
            if let Some(schema) = &rule.schema
                && let Err(invalid) = schema.check(document)
            {
                let line = parsed.line(text, index, &invalid.pointer);
                wrong.push(Wrong { line, message: invalid.message });
            }
            if let Some(cel) = &rule.cel {
                let before = old.and_then(|old| old.documents.get(index));
                if let Err(message) = cel.check(key, text, document, before) {
                    wrong.push(Wrong { line: parsed.start(text, index), message });
                }
            }
        }
        wrong
    }

    /// The value as read in a format, and what it was before, if that can be read.
    fn read(&mut self, text: &str, format: Option<ConfigFormat>) -> (&Result<Parsed, Wrong>, Option<&Parsed>) {
        let at = self.read.iter().position(|read| read.format == format).unwrap_or_else(|| {
            let new = parse(text, format).map_err(|error| Wrong { line: error.line, message: error.message });
            // One that is too much to be read is as one that cannot be: no value before.
            let old = self.old.and_then(|old| attempt(|| parse(old, format)).ok()?.ok());
            self.read.push(Read { format, new, old });
            self.read.len() - 1
        });
        let read = &self.read[at];
        (&read.new, read.old.as_ref())
    }
}
