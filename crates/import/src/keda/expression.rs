//! Formulas of KEDA (expr-lang) as CEL, where they are arithmetic, comparisons and choices over triggers. What is more than
//! that is refused, with the place. Numbers are floats in both, and CEL mixes them with no others, so all are written so.

use std::collections::BTreeSet;

/// How deeply parts may nest.
const DEPTH: usize = 32;
/// The longest formula that is looked at, and the longest that is made.
const LENGTH: usize = 2048;
/// Words that cannot stand behind a dot in CEL.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// How tightly the parts of an expression hold together, the loosest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tie {
    Choice,
    Or,
    And,
    Comparison,
    Sum,
    Product,
    Sign,
    Whole,
}

/// A part in CEL.
#[derive(Debug, Clone)]
struct Part {
    text: String,
    tie: Tie,
    is_number: bool,
}

impl Part {
    fn number(text: String, tie: Tie) -> Self {
        Self { text, tie, is_number: true }
    }

    fn truth(text: String, tie: Tie) -> Self {
        Self { text, tie, is_number: false }
    }

    /// Its text where what stands around it ties so tightly.
    fn within(&self, tie: Tie) -> String {
        if self.tie < tie { format!("({})", self.text) } else { self.text.clone() }
    }
}

/// A formula in CEL, and the triggers that it names; or why there is none.
pub(super) fn translate(formula: &str) -> Result<(String, BTreeSet<String>), String> {
    if formula.len() > LENGTH {
        return Err("it is too long to be translated".to_owned());
    }
    let mut reader = Reader { words: words(formula)?, at: 0, depth: 0, names: BTreeSet::new() };
    let part = reader.choice()?;
    if let Some(word) = reader.next() {
        return Err(format!("{word:?} stands where its end should be"));
    }
    if !part.is_number {
        return Err("it gives true or false, not a number".to_owned());
    }
    Ok((part.text, reader.names))
}

/// How a metric's value is written.
pub(super) fn of_metric(name: &str, what: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !RESERVED.contains(&name);
    if plain { format!("metrics.{name}.{what}") } else { format!("metrics[{name:?}].{what}") }
}

fn words(formula: &str) -> Result<Vec<String>, String> {
    let (mut found, mut rest) = (vec![], formula.trim_start());
    while let Some(first) = rest.chars().next() {
        let length = if first.is_ascii_alphabetic() || first == '_' {
            rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if first.is_ascii_digit() || first == '.' {
            rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len())
        } else if ["<=", ">=", "==", "!=", "&&", "||", "**", "??", "?."].iter().any(|two| rest.starts_with(two)) {
            2
        } else if "+-*/<>!?:(),[]%^".contains(first) {
            1
        } else {
            return Err(format!("{:?} is more than arithmetic", first.to_string()));
        };
        let (word, after) = rest.split_at(length);
        found.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(found)
}

struct Reader {
    words: Vec<String>,
    at: usize,
    depth: usize,
    names: BTreeSet<String>,
}

impl Reader {
    fn peek(&self) -> Option<&str> {
        self.words.get(self.at).map(String::as_str)
    }

    fn next(&mut self) -> Option<String> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word
    }

    /// One of these words, if it is next.
    fn take(&mut self, words: &[&'static str]) -> Option<&'static str> {
        let found = words.iter().copied().find(|word| self.peek() == Some(word))?;
        self.at += 1;
        Some(found)
    }

    fn expect(&mut self, word: &'static str) -> Result<(), String> {
        match self.take(&[word]) {
            Some(_) => Ok(()),
            None => Err(format!("{word:?} is missing before {:?}", self.peek().unwrap_or("its end"))),
        }
    }

    fn choice(&mut self) -> Result<Part, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err("it nests too deeply".to_owned());
        }
        let condition = self.either()?;
        let part = if self.take(&["?"]).is_some() {
            let then = self.choice()?;
            self.expect(":")?;
            let otherwise = self.choice()?;
            if condition.is_number || then.is_number != otherwise.is_number {
                return Err("its choice (a ? b : c) is not between two numbers by a condition".to_owned());
            }
            let text =
                format!("{} ? {} : {}", condition.within(Tie::Or), then.within(Tie::Or), otherwise.within(Tie::Choice));
            short(Part { text, tie: Tie::Choice, is_number: then.is_number })?
        } else {
            condition
        };
        self.depth -= 1;
        Ok(part)
    }

    fn either(&mut self) -> Result<Part, String> {
        let mut part = self.both()?;
        while self.take(&["||", "or"]).is_some() {
            let right = self.both()?;
            part = joined(&part, "||", &right, Tie::Or)?;
        }
        Ok(part)
    }

    fn both(&mut self) -> Result<Part, String> {
        let mut part = self.comparison()?;
        while self.take(&["&&", "and"]).is_some() {
            let right = self.comparison()?;
            part = joined(&part, "&&", &right, Tie::And)?;
        }
        Ok(part)
    }

    fn comparison(&mut self) -> Result<Part, String> {
        let left = self.sum()?;
        let Some(sign) = self.take(&["<=", ">=", "==", "!=", "<", ">"]) else { return Ok(left) };
        let right = self.sum()?;
        numbers(&[&left, &right])?;
        let text = format!("{} {sign} {}", left.within(Tie::Sum), right.within(Tie::Sum));
        short(Part::truth(text, Tie::Comparison))
    }

    fn sum(&mut self) -> Result<Part, String> {
        let mut part = self.product()?;
        while let Some(sign) = self.take(&["+", "-"]) {
            let right = self.product()?;
            part = computed(&part, sign, &right, Tie::Sum, Tie::Product)?;
        }
        Ok(part)
    }

    fn product(&mut self) -> Result<Part, String> {
        let mut part = self.sign()?;
        while let Some(sign) = self.take(&["*", "/"]) {
            let right = self.sign()?;
            part = computed(&part, sign, &right, Tie::Product, Tie::Sign)?;
        }
        Ok(part)
    }

    fn sign(&mut self) -> Result<Part, String> {
        if self.take(&["-"]).is_some() {
            let part = self.whole()?;
            numbers(&[&part])?;
            return Ok(Part::number(format!("-{}", part.within(Tie::Whole)), Tie::Sign));
        }
        if self.take(&["!", "not"]).is_some() {
            let part = self.whole()?;
            if part.is_number {
                return Err("it negates a number as if that were true or false".to_owned());
            }
            return Ok(Part::truth(format!("!{}", part.within(Tie::Whole)), Tie::Sign));
        }
        self.whole()
    }

    fn whole(&mut self) -> Result<Part, String> {
        let Some(word) = self.next() else { return Err("it ends too early".to_owned()) };
        if word == "(" {
            let part = self.choice()?;
            self.expect(")")?;
            return Ok(part);
        }
        if word.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            let number: f64 = word.parse().map_err(|_| format!("{word:?} is not a number"))?;
            return Ok(Part::number(float(number), Tie::Whole));
        }
        if !word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return Err(format!("{word:?} is more than arithmetic over triggers"));
        }
        if self.peek() == Some("(") {
            return self.call(&word);
        }
        let text = of_metric(&word, "value");
        self.names.insert(word);
        Ok(Part::number(text, Tie::Whole))
    }

    /// A function that arithmetic can say.
    fn call(&mut self, function: &str) -> Result<Part, String> {
        if !["max", "min", "sum", "mean", "abs"].contains(&function) {
            return Err(format!("{function}() has no counterpart"));
        }
        self.expect("(")?;
        let list = self.take(&["["]).is_some();
        let mut parts = vec![self.choice()?];
        while self.take(&[","]).is_some() {
            parts.push(self.choice()?);
        }
        if list {
            self.expect("]")?;
        }
        self.expect(")")?;
        numbers(&parts.iter().collect::<Vec<_>>())?;
        let larger = |a: &Part, sign: &str, b: &Part| {
            let (left, right) = (a.within(Tie::Sum), b.within(Tie::Sum));
            let (then, otherwise) = (a.within(Tie::Or), b.within(Tie::Choice));
            short(Part::number(format!("{left} {sign} {right} ? {then} : {otherwise}"), Tie::Choice))
        };
        let count = float(parts.len() as f64);
        let first = parts.remove(0);
        match function {
            "max" => parts.iter().try_fold(first, |all, part| larger(&all, ">", part)),
            "min" => parts.iter().try_fold(first, |all, part| larger(&all, "<", part)),
            "abs" if parts.is_empty() => {
                let negative = Part::number(format!("-{}", first.within(Tie::Whole)), Tie::Sign);
                larger(&first, ">", &negative)
            }
            "abs" => Err("abs() has one argument".to_owned()),
            _ => {
                let all =
                    parts.iter().try_fold(first, |all, part| computed(&all, "+", part, Tie::Sum, Tie::Product))?;
                let divisor = Part::number(count, Tie::Whole);
                if function == "sum" { Ok(all) } else { computed(&all, "/", &divisor, Tie::Product, Tie::Sign) }
            }
        }
    }
}

fn numbers(parts: &[&Part]) -> Result<(), String> {
    match parts.iter().all(|part| part.is_number) {
        true => Ok(()),
        false => Err("it computes with true or false".to_owned()),
    }
}

fn joined(left: &Part, sign: &str, right: &Part, tie: Tie) -> Result<Part, String> {
    if left.is_number || right.is_number {
        return Err(format!("{sign} joins numbers as if they were true or false"));
    }
    short(Part::truth(format!("{} {sign} {}", left.within(tie), right.within(tie)), tie))
}

fn computed(left: &Part, sign: &str, right: &Part, tie: Tie, tighter: Tie) -> Result<Part, String> {
    numbers(&[left, right])?;
    short(Part::number(format!("{} {sign} {}", left.within(tie), right.within(tighter)), tie))
}

/// A part that is not too long: choices repeat what they choose from.
fn short(part: Part) -> Result<Part, String> {
    if part.text.len() > LENGTH { Err("it becomes too long in CEL".to_owned()) } else { Ok(part) }
}

/// A number as CEL knows that it is a float.
pub(super) fn float(number: f64) -> String {
    format!("{number:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(formula: &str, expected: &str) {
        assert_eq!(translate(formula).map(|(text, _)| text).unwrap(), expected, "{formula}");
    }

    #[test]
    fn arithmetic_is_the_same_with_floats() {
        check("trig_one + trig_two", "metrics.trig_one.value + metrics.trig_two.value");
        check("(a + b)/2", "(metrics.a.value + metrics.b.value) / 2.0");
        check("a - (b - c)", "metrics.a.value - (metrics.b.value - metrics.c.value)");
        check("a / b * c", "metrics.a.value / metrics.b.value * metrics.c.value");
        check("a / (b * c)", "metrics.a.value / (metrics.b.value * metrics.c.value)");
        check("-(a + 1.5)", "-(metrics.a.value + 1.5)");
        check("for + 1", "metrics[\"for\"].value + 1.0");
    }

    #[test]
    fn choices_and_simple_functions_are_translated() {
        check("a > 2 ? a + b : 1", "metrics.a.value > 2.0 ? metrics.a.value + metrics.b.value : 1.0");
        check("a > 2 and not (b < 1) ? 1 : 2", "metrics.a.value > 2.0 && !(metrics.b.value < 1.0) ? 1.0 : 2.0");
        check("max(a, b) * 2", "(metrics.a.value > metrics.b.value ? metrics.a.value : metrics.b.value) * 2.0");
        check("sum([a, b])", "metrics.a.value + metrics.b.value");
        check("mean([a, b])", "(metrics.a.value + metrics.b.value) / 2.0");
    }

    #[test]
    fn what_is_more_than_arithmetic_is_refused() {
        let all = [
            "count([a,b],{#>1})>1?5:0",
            "a ** 2",
            "a % 2",
            "a ?? 1",
            "a +",
            "a b",
            "a > 1",
            "a && b",
            "float(a)",
            "'x'",
            "",
        ];
        for formula in all {
            assert!(translate(formula).is_err(), "{formula}");
        }
        assert!(translate(&"(".repeat(500)).is_err());
        let doubling = (0..12).fold("a".to_owned(), |inner, _| format!("max({inner},{inner})"));
        assert!(translate(&doubling[..]).is_err());
    }
}
