//! Regular expressions whose matching is counted and can be ended: a lazy automaton, one byte after the other. The `regex`
//! crate reads the same expressions and matches faster, but what it has begun it ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use regex::{Regex, RegexBuilder};
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::{Anchored, Input};

use crate::meter;

/// The longest pattern, in bytes; the API server keeps the same limit.
pub(crate) const SOURCE: usize = 1024;
/// How large a compiled pattern of a rule may be, in bytes.
pub(crate) const RULE: usize = 1 << 20;
/// How large one of an expression may be.
pub(crate) const EXPRESSION: usize = 128 << 10;
/// Compiled patterns that one expression keeps.
pub(crate) const KEPT: usize = 16;
/// What an automaton remembers of its states, in bytes.
const MEMORY: usize = 1 << 20;
/// Bytes of a text that count as one step.
const STRIDE: usize = 256;
/// Steps for which the making of a pattern counts.
const MAKING: u64 = 5_000;
/// The longest text that is matched where it cannot be ended: where a word ends is not known of letters beyond ASCII otherwise.
const WORDS: usize = 64 << 10;

/// A pattern that is ready.
pub(crate) struct Pattern {
    automaton: DFA,
    /// For texts in which the automaton cannot tell where a word ends.
    words: Option<Regex>,
}

impl Pattern {
    /// One that fits a whole text.
    pub(crate) fn whole(source: &str) -> Result<Self, String> {
        // Alone first: `a)|(b` must not slip out of the group.
        Self::new(source, RULE)?;
        Self::new(&format!(r"\A(?:{source})\z"), RULE)
    }

    fn new(source: &str, most: usize) -> Result<Self, String> {
        if source.len() > SOURCE + r"\A(?:)\z".len() {
            return Err(format!("the pattern has more than {SOURCE} bytes"));
        }
        let too_large = || "the pattern is too large: repeat less in it".to_owned();
        let read = RegexBuilder::new(source).size_limit(most).dfa_size_limit(MEMORY).build();
        let read = read.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => too_large(),
            // The last line says what is wrong; those before it point into the pattern.
            error => {
                format!("the pattern is no regular expression: {}", error.to_string().lines().last().unwrap_or(""))
            }
        })?;
        let nfa = thompson::Config::new().nfa_size_limit(Some(most)).which_captures(WhichCaptures::None);
        let lazy = DFA::config().cache_capacity(MEMORY).skip_cache_capacity_check(true).unicode_word_boundary(true);
        let automaton = DFA::builder().configure(lazy).thompson(nfa).build(source).map_err(|_| too_large())?;
        let words = automaton.get_nfa().look_set_any().contains_word_unicode().then_some(read);
        Ok(Self { automaton, words })
    }

    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        self.automaton.get_nfa().memory_usage() * if self.words.is_some() { 3 } else { 1 }
    }

    /// Whether it fits somewhere in a text, or of [`Pattern::whole`], the whole of it.
    pub(crate) fn fits(&self, text: &str) -> Result<bool, String> {
        let mut cache = self.automaton.create_cache();
        let input = Input::new(text).anchored(Anchored::No);
        let Ok(mut state) = self.automaton.start_state_forward(&mut cache, &input) else { return self.by_words(text) };
        for stride in text.as_bytes().chunks(STRIDE) {
            meter::step();
            for byte in stride {
                match self.next(&mut cache, state, *byte) {
                    Next::Goes(next) => state = next,
                    Next::Fits(fits) => return Ok(fits),
                    Next::Unknown => return self.by_words(text),
                }
            }
        }
        let end = self.automaton.next_eoi_state(&mut cache, state);
        end.map(|end| end.is_match()).map_err(|_| "the pattern is too large for this text".to_owned())
    }

    fn next(&self, cache: &mut Cache, state: LazyStateID, byte: u8) -> Next {
        match self.automaton.next_state(cache, state, byte) {
            Ok(next) if !next.is_tagged() => Next::Goes(next),
            Ok(next) if next.is_match() => Next::Fits(true),
            Ok(next) if next.is_dead() => Next::Fits(false),
            Ok(next) if next.is_quit() => Next::Unknown,
            Ok(next) => Next::Goes(next),
            Err(_) => Next::Unknown,
        }
    }

    fn by_words(&self, text: &str) -> Result<bool, String> {
        match &self.words {
            Some(words) if text.len() <= WORDS => Ok(words.is_match(text)),
            _ => Err(format!(
                "a pattern with \\b is for texts of at most {} KiB where they hold more than ASCII: write (?-u:\\b)",
                WORDS >> 10
            )),
        }
    }
}

enum Next {
    Goes(LazyStateID),
    Fits(bool),
    Unknown,
}

/// The patterns of one expression, each made once, however often it is evaluated.
#[derive(Clone, Default)]
pub(crate) struct Patterns(Arc<Mutex<HashMap<String, Arc<Pattern>>>>);

impl Patterns {
    /// Whether a pattern fits somewhere in a text.
    pub(crate) fn fits(&self, pattern: &str, text: &str) -> Result<bool, String> {
        self.made(pattern)?.fits(text)
    }

    fn made(&self, source: &str) -> Result<Arc<Pattern>, String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(source).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        meter::steps(MAKING);
        let made = Arc::new(Pattern::new(source, EXPRESSION)?);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What an expression names comes first; what it puts together is made each time.
        if all.len() < KEPT {
            all.insert(source.to_owned(), made.clone());
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, text: &str) {
        let pattern = Pattern::new(source, RULE).unwrap();
        let expected = Regex::new(source).unwrap().is_match(text);
        assert_eq!(pattern.fits(text), Ok(expected), "{source} in {text:?}");
        let whole = Regex::new(&format!(r"\A(?:{source})\z")).unwrap().is_match(text);
        assert_eq!(Pattern::whole(source).unwrap().fits(text), Ok(whole), "{source} is {text:?}");
    }

    #[test]
    fn patterns_fit_what_the_regex_crate_says_they_fit() {
        let long = "x".repeat(700);
        for source in
            ["", "a", "a|b", "^a", "a$", "(?m)^a$", r"\bä\b", r"\w+", "a*?b", "(?i)ä", "[^a]", r"\B", "x{3,}y?"]
        {
            for text in ["", "a", "ab", "b", "ä", "xä y", "b\na\n", "Ä", "a\n", "x xx xxx", long.as_str()] {
                check(source, text);
            }
        }
    }

    #[test]
    fn words_beyond_ascii_are_for_short_texts() {
        let long = "ä".repeat(WORDS);
        assert!(Pattern::whole(r"\bx").unwrap().fits(&long).unwrap_err().contains("64 KiB"));
        assert_eq!(Pattern::whole(r"(?-u:\b)x").unwrap().fits(&long), Ok(false));
    }

    #[test]
    fn an_expression_makes_a_pattern_once_and_keeps_few() {
        let patterns = Patterns::default();
        for count in 0..KEPT * 2 {
            assert_eq!(patterns.fits(&format!("a{count}"), "a1"), Ok(count == 1));
            assert_eq!(patterns.fits("a0", "a0"), Ok(true));
        }
        assert_eq!(patterns.0.lock().unwrap().len(), KEPT);
    }
}
