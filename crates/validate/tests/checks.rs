//! What policies find, and what they withstand.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use trimtab_crds::ConfigPolicySpec;

use trimtab_validate::{BadRule, Compiled, Finding, SourceData, compile};

const DEADLINE: Duration = Duration::from_secs(20);
/// What is not ended takes for ever; what is takes seconds, or on a busy machine a few times as many.
const PATIENCE: Duration = Duration::from_secs(60);

fn spec(rule: Value) -> ConfigPolicySpec {
    let mut rule = rule;
    rule["name"] = json!("r");
    serde_json::from_value(json!({"rules": [rule]})).unwrap()
}

fn compiled(rule: Value) -> Compiled {
    compile(&spec(rule.clone()), DEADLINE).unwrap_or_else(|bad| panic!("{rule}: {bad:?}"))
}

fn bad(rule: Value) -> String {
    let bad: Vec<BadRule> = compile(&spec(rule.clone()), DEADLINE).expect_err(&rule.to_string());
    assert_eq!(bad.len(), 1);
    bad[0].message.clone()
}

fn source(text: &[u8], secret: bool) -> SourceData {
    let data = BTreeMap::from([("k".to_owned(), Bytes::copy_from_slice(text))]);
    SourceData { source: "cm/web".to_owned(), data, secret }
}

/// What one rule says of one value; `old` is the value before. Empty: nothing. Else `LINE: MESSAGE`, one for each finding.
fn said(rule: Value, text: &str, old: Option<&str>) -> String {
    let old = old.map(|old| source(old.as_bytes(), false));
    let found = compiled(rule).check(&source(text.as_bytes(), false), old.as_ref(), DEADLINE);
    let line = |found: &Finding| {
        assert_eq!((found.key.as_str(), found.rule.as_str()), ("k", "r"));
        let line = found.line.map_or("-".to_owned(), |line| line.to_string());
        format!("{line}: {}", found.message)
    };
    found.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Checks that a rule says this of a value; `said` is the beginning of it.
#[track_caller]
fn check(rule: Value, text: &str, expected: &str) {
    let said = said(rule.clone(), text, None);
    let fits = if expected.is_empty() { said.is_empty() } else { said.starts_with(expected) };
    assert!(fits, "{rule} of {text:.80?} says {said:.200?}, not {expected:?}");
}

#[test]
fn formats_are_read_and_the_line_of_a_mistake_is_told() {
    for (format, good, broken, expected) in [
        ("Json", "{\"a\": [1]}", "{\n \"a\": 1,\n}", "3: the value is not JSON: trailing comma"),
        ("Yaml", "a: 1\n---\nb: 2\n", "a: 1\nb: [1\nc: 2\n", "3: the value is not YAML: "),
        ("Toml", "a = 1\n[t]\n", "a = 1\nb = \n", "2: the value is not TOML: "),
        ("Properties", "a=1\n", "a=1\nb=\\u12", "2: the value is not a properties file: \\u is not followed"),
    ] {
        check(json!({"format": format}), good, "");
        check(json!({"format": format}), broken, expected);
    }
    check(json!({"format": "Yaml"}), "# nothing\n", "");
    check(json!({"format": "Json"}), "", "1: the value is not JSON");
    let found = compiled(json!({"format": "Json"})).check(&source(b"\xff", false), None, DEADLINE);
    assert_eq!(found[0].message, "the value is not text in UTF-8");
}

#[test]
fn schemas_tell_the_line_of_the_part() {
    let schema = json!({"properties": {"a": {"properties": {"b": {"items": {"type": "integer"}}}}}});
    for (format, text, line) in [
        ("Json", "{\n \"a\": {\n  \"b\": [1,\n   \"x\"]\n }\n}", "4"),
        ("Yaml", "a:\n  b:\n  - 1\n  - x\n", "4"),
        ("Yaml", "{}\n---\na:\n  b: [1,\n   x]\n", "5"),
        ("Toml", "# c\n[a]\nb = [1,\n \"x\"]\n", "4"),
    ] {
        let rule = json!({"format": format, "schema": schema});
        check(rule, text, &format!("{line}: /a/b/1: \"x\" is not of type \"integer\""));
    }
    let required =
        json!({"format": "Properties", "schema": {"required": ["b"], "properties": {"a": {"pattern": "^1$"}}}});
    check(required.clone(), "x=1\n", "-: \"b\" is a required property");
    check(required, "b=1\na=1\n# x\na\\\n =2\n", "4: /a: ");
    check(
        json!({"format": "Json", "schema": {"not": {"required": ["a"]}}}),
        "{\"a\": 1}",
        "1: {\"required\":[\"a\"]} is not allowed for the value",
    );
    let wide = json!({"format": "Json", "schema": {
        "dependentRequired": {"a": ["b"]}, "dependentSchemas": {"c": {"required": ["d"]}}, "unevaluatedProperties": false,
        "properties": {"a": true, "b": {}, "c": {"enum": [{"$ref": "http://x"}, 1]}, "d": {"if": {"const": 1}, "else": false}}
    }});
    check(wide.clone(), "{\"a\": 1, \"b\": 2, \"c\": 1, \"d\": 1}", "");
    check(wide.clone(), "{\"a\": 1}", "1: \"b\" is a required property");
    check(wide.clone(), "{\"c\": 1}", "1: \"d\" is a required property");
    check(wide.clone(), "{\n\"d\": 2}", "2: /d: ");
    check(wide, "{\"e\": 2}", "1: Unevaluated properties are not allowed ('e' was unexpected)");
    // Drafts and references inside.
    let draft = json!({"format": "Json", "schema": {"$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"n": {"minimum": 3}}, "items": {"$ref": "#/definitions/n"}}});
    check(draft.clone(), "[3, 4]", "");
    check(draft, "[3,\n2]", "2: /1: 2 is less than the minimum of 3");
}

#[test]
fn patterns_match_the_whole_value() {
    check(json!({"pattern": "a|b"}), "a", "");
    check(json!({"pattern": "a|b"}), "ab", "-: the value does not match the pattern as a whole");
    check(json!({"pattern": "a"}), "a\n", "-: the value does not match");
}

#[test]
fn expressions_see_value_text_old_and_key() {
    let yaml = |cel: &str| json!({"format": "Yaml", "cel": cel});
    check(yaml("value.port > 1023 && value.port < 65536 && key == 'k' && text.startsWith('port')"), "port: 8080", "");
    check(yaml("value.port > 1023"), "port: 80", "-: not true: value.port > 1023");
    check(yaml("value.ratio <= 1"), "ratio: 0.5", "");
    check(yaml("value.all(k, value[k] + 1 == 2)"), "a: 1\nb: 1", "");
    check(yaml("size(value.map(x, x.a + 'b')) == 2 && value.exists_one(x, x.a == 'c')"), "[{a: c}, {a: d}]", "");
    check(yaml("value.filter(x, x > 1).map(x, x * 2) == [4, 6]"), "[1, 2, 3]", "");
    check(yaml("value.map(x, x > 1, x * 2) == [4, 6] && !value.exists(x, x == 9) && 2 in value"), "[1, 2, 3]", "");
    check(yaml("value != null"), "a: 1\n---\n# nothing\n---\nb: 1", "");
    check(yaml("!has(value.b)"), "a: 1\n---\nb: 1", "3: not true");
    check(json!({"cel": "value.matches('^[a-z]+$') && int(string(size(value))) == 3"}), "abc", "");
    check(json!({"cel": "type(value) == string"}), "abc", "");
    let bounded = json!({"format": "Json", "cel": "old == null || value.n <= old.n * 2"});
    assert_eq!(said(bounded.clone(), "{\"n\": 4}", Some("{\"n\": 2}")), "");
    assert_eq!(said(bounded.clone(), "{\"n\": 4}", None), "");
    assert_eq!(said(bounded.clone(), "{\"n\": 4}", Some("not json")), "");
    assert!(said(bounded, "{\"n\": 5}", Some("{\"n\": 2}")).starts_with("-: not true: old == null"));
}

#[test]
fn what_is_missing_or_no_number_is_refused() {
    let rule = json!({"format": "Yaml", "cel": "value.limits.cpu > 1.0"});
    check(rule.clone(), "limits: {}", "-: there is no \"cpu\"");
    check(rule.clone(), "limits: {cpu: .nan}", "1: the value is not YAML");
    check(rule.clone(), "limits: {cpu: null}", "-: ");
    check(rule, "limits: {cpu: two}", "-: ");
    check(json!({"format": "Toml"}), "a = nan", "-: the value holds nan or inf");
    check(json!({"cel": "'x'"}), "", "-: neither true nor false");
}

#[test]
fn a_rule_that_cannot_be_used_says_why() {
    for (rule, expected) in [
        (json!({}), "it asks for nothing"),
        (json!({"schema": {}, "pattern": "a"}), "a schema needs a format"),
        (json!({"pattern": "a("}), "the pattern is no regular expression: error: unclosed group"),
        (json!({"pattern": "a)|(b"}), "the pattern is no regular expression: error: unopened group"),
        (json!({"pattern": "(?:\\w{1000}){100}"}), "the pattern is too large"),
        (json!({"format": "Json", "schema": {"type": "nothing"}}), "the schema is not valid: "),
        (
            json!({"format": "Json", "schema": {"$ref": "http://example.com/a"}}),
            "the schema refers to \"http://example",
        ),
        (
            json!({"format": "Json", "schema": {"items": [{"$ref": "other.json"}]}}),
            "the schema refers to \"other.json\"",
        ),
        (json!({"format": "Json", "schema": {"$ref": "#/$defs/none"}}), "the schema is not valid: "),
        (json!({"format": "Json", "schema": {"pattern": "(?=a)"}}), "the schema is not valid: "),
        (json!({"cel": "value >"}), "the expression is not CEL: column "),
        (json!({"cel": "vlaue == 1"}), "there is no \"vlaue\" here: an expression knows value, text, old, key"),
        (json!({"cel": "value.lowerAscii() == 'a'"}), "there is no function \"lowerAscii\": use size, "),
        (json!({"cel": "duration('1h') == value"}), "there is no function \"duration\""),
        (json!({"cel": "@step()"}), "the expression is not CEL"),
        (json!({"cel": "a.b{c: 1} == value"}), "there are no messages here"),
    ] {
        let said = bad(rule.clone());
        assert!(said.starts_with(expected), "{rule}: {said}");
    }
}

#[test]
fn hostile_expressions_are_refused_or_ended() {
    let loops = |n: usize| (0..n).fold("true".to_owned(), |body, i| format!("value.all(x{i}, {body})"));
    let doubled = format!("[text]{} == []", ".map(a, a + a)".repeat(40));
    for hostile in [
        format!("1{} == 1", "+1".repeat(5000)),
        format!("1{} == 1", "+1".repeat(500)),
        format!("{}true{}", "(".repeat(400), ")".repeat(400)),
        format!("{}value{}", "[".repeat(200), "]".repeat(200)),
        format!("{}true", "!".repeat(1000)),
        format!("{}1 == 1", "-".repeat(1000)),
        format!("{}true", "! ".repeat(500)),
        format!("value{} == 1", ".a".repeat(500)),
        format!("value{} == 1", "[0]".repeat(300)),
        format!("true{}", "?true:true".repeat(90)),
        format!("true{}", "||true".repeat(160)),
        format!("{}1{}", "{1:".repeat(250), "}".repeat(250)),
        format!("size({}1{}) == 1", "size(".repeat(150), ")".repeat(150)),
        loops(4),
        loops(3),
        doubled,
        format!("size([{}].map(a, value.map(b, a))) == 1", vec!["text"; 150].join(",")),
        "size(value.map(a, text + text)) > 0".to_owned(),
        "value.all(x, value.map(y, value.map(z, [x, y, z])) != [])".to_owned(),
        "value.all(x, value.all(y, text.matches(text)))".to_owned(),
        "\"".to_owned(),
        "\u{0}".to_owned(),
        "`".repeat(1000),
        "a?.b[?c]".to_owned(),
    ] {
        let began = Instant::now();
        if let Ok(compiled) = compile(&spec(json!({"format": "Json", "cel": hostile})), DEADLINE) {
            let list = format!("[{}0]", "0,".repeat(20_000));
            let found = compiled.check(&source(list.as_bytes(), false), None, Duration::from_secs(5));
            let harmless = hostile.starts_with("true") || hostile.starts_with("!") || hostile.starts_with("1+");
            assert!(!found.is_empty() || harmless, "{hostile}");
        }
        let short: String = hostile.chars().take(40).collect();
        println!("{short}: {:?}", began.elapsed());
        assert!(began.elapsed() < PATIENCE, "{hostile} took {:?}", began.elapsed());
    }
}

#[test]
fn an_expression_that_does_not_end_in_time_is_refused() {
    let slow = compiled(json!({"format": "Json", "cel": "value.all(x, value.all(y, x == y))"}));
    let list = format!("[{}0]", "0,".repeat(20_000));
    let began = Instant::now();
    let found = slow.check(&source(list.as_bytes(), false), None, Duration::from_millis(60));
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(found[0].message, "not checked: it takes too long");
    assert_eq!(found[0].rule, "r");
}

#[test]
fn hostile_schemas_are_refused_or_ended() {
    // Each looks at the next one twice, forty times: a validator that only counted what holds would never end.
    let doubling = |keyword: &str, last: serde_json::Value| {
        let mut all = serde_json::Map::new();
        for i in 0..40 {
            let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
            all.insert(format!("d{i}"), json!({keyword: [next, next]}));
        }
        all.insert("d40".to_owned(), last);
        json!({"$ref": "#/$defs/d0", "$defs": all})
    };
    let lasts = [
        json!({"type": "array"}),
        json!({"type": "string"}),
        json!({"maxItems": 0}),
        json!({"const": 1}),
        json!({"enum": [1, 2]}),
        json!({"not": {}}),
        json!({"not": true}),
        json!({"contains": false, "minContains": 1}),
        json!({"if": true, "then": false}),
        json!(false),
        json!(true),
    ];
    let keywords = ["allOf", "anyOf", "oneOf"];
    let doubled = keywords.iter().flat_map(|keyword| lasts.iter().map(|last| doubling(keyword, last.clone())));
    let doubled: Vec<_> = doubled.collect();
    for hostile in [
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        json!({"anyOf": [{"$dynamicRef": "#x"}], "$dynamicAnchor": "x"}),
        json!({"items": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}], "oneOf": [{"$ref": "#"}, {"not": {"$ref": "#"}}]}}),
        json!({"not": {"$ref": "#"}}),
        json!({"uniqueItems": true, "items": {"enum": (0..5000).collect::<Vec<_>>()}}),
    ]
    .into_iter()
    .chain(doubled)
    {
        let began = Instant::now();
        if let Ok(compiled) = compile(&spec(json!({"format": "Json", "schema": hostile})), DEADLINE) {
            let nested = format!("{}{}", "[".repeat(100), "]".repeat(100));
            let found = compiled.check(&source(nested.as_bytes(), false), None, Duration::from_secs(5));
            println!("{:.60}: {:?} {:?}", hostile.to_string(), began.elapsed(), found.first().map(|f| &f.message));
        } else {
            println!("{:.60}: refused", hostile.to_string());
        }
        assert!(began.elapsed() < PATIENCE, "{hostile}");
    }
}

#[test]
fn hostile_values_are_refused() {
    let bomb = (1..10).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, i| {
        let aliases = vec![format!("*a{}", i - 1); 9].join(",");
        format!("{text}a{i}: &a{i} [{aliases}]\n")
    });
    for (format, text) in [
        ("Json", "[".repeat(100_000)),
        ("Yaml", "[".repeat(100_000)),
        ("Yaml", "- ".repeat(100_000)),
        ("Yaml", bomb),
        ("Yaml", "? ".repeat(10_000)),
        ("Toml", format!("a = {}", "[".repeat(100_000))),
        ("Toml", format!("{}b = 1", "a.".repeat(100_000))),
        ("Properties", "\\".repeat(100_001)),
    ] {
        let began = Instant::now();
        let rule = json!({"format": format, "schema": {"type": "object"}, "cel": "size(value) == 99"});
        let said = said(rule, &text, None);
        assert!(!said.is_empty(), "{format} {:.20}", text);
        assert!(began.elapsed() < PATIENCE, "{format} {:.20}: {:?}", text, began.elapsed());
    }
}

#[test]
fn what_is_small_and_holds_much_is_refused() {
    let mib = 1 << 20;
    for (format, text) in [
        ("Json", format!("[{}[]]", "[],".repeat(mib / 3))),
        ("Json", format!("{{{}\"z\":1}}", (0..150_000).map(|n| format!("\"{n}\":1,")).collect::<String>())),
        ("Yaml", format!("[{}[]]", "[],".repeat(mib / 3))),
        ("Yaml", "- 1\n".repeat(mib / 4)),
        ("Toml", format!("a = [{}[]]", "[],".repeat(mib / 3))),
        ("Properties", "a\n".repeat(mib / 2)),
    ] {
        // On a machine that hardly gets on, the time ends before.
        let told = said(json!({"format": format}), &text, None);
        let ended = ["-: not checked: it holds more than 100000 texts", "-: not checked: it takes too long"];
        assert!(ended.iter().any(|ended| told.starts_with(ended)), "{format}: {told:.200}");
        let found = said(json!({"format": format, "cel": "true"}), "a", Some(&text));
        assert!(!found.contains("holds more"), "what was before is not what is released: {format}: {found:.200}");
    }
    check(json!({"format": "Json"}), &format!("[{}0]", "0,".repeat(50_000)), "");
    let data = (0..10_001).map(|key| (key.to_string(), Bytes::new())).collect();
    let many = SourceData { source: "cm/web".to_owned(), data, secret: false };
    let found = compiled(json!({"format": "Json"})).check(&many, None, DEADLINE);
    assert_eq!((found.len(), found[0].message.as_str()), (1, "not checked: it has more than 10000 keys: divide it"));
}

#[test]
fn what_takes_too_much_memory_is_refused() {
    let named = |count: usize, pattern: &str| -> Value {
        let named: serde_json::Map<String, Value> =
            (0..count).map(|n| (format!("p{n}"), json!({ "pattern": pattern }))).collect();
        json!({"format": "Json", "schema": { "properties": named }})
    };
    assert!(bad(named(101, "a")).starts_with("the schema has more than 100 patterns"));
    assert!(bad(named(1, "(?:a{100}){100}")).starts_with("the schema is not valid"));
    compiled(named(50, "^[a-z]+$"));
    let long = json!({"format": "Json", "schema": { "title": "x".repeat(64 << 10) }});
    assert!(bad(long).starts_with("the schema has more than 64 KiB"));
    let rule = |name: &str| {
        let mut rule = named(100, "^[a-z]+$");
        rule["name"] = json!(name);
        rule
    };
    let large: ConfigPolicySpec = serde_json::from_value(json!({ "rules": [rule("a"), rule("b")] })).unwrap();
    let refused = compile(&large, DEADLINE).unwrap_err();
    assert!(refused[0].message.contains("more than 8 MiB"), "{refused:?}");
}

#[test]
fn patterns_are_ended_like_everything_else() {
    // Each byte of the text is another state of the automaton.
    let slow = compiled(json!({"pattern": "(?:[0-9a]{1,40}){1,40}b"}));
    let began = Instant::now();
    let text = "0123456789a".repeat(90_000);
    let found = slow.check(&source(text.as_bytes(), false), None, Duration::from_millis(50));
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn findings_are_few() {
    let rule = json!({"format": "Yaml", "schema": {"type": "string"}});
    let found = compiled(rule).check(&source("---\n1\n".repeat(150).as_bytes(), false), None, DEADLINE);
    assert_eq!(found.len(), 100);
}

#[test]
fn nothing_of_a_secret_is_told() {
    const SECRET: &str = "hunter2";
    for (rule, text) in [
        (json!({"format": "Json"}), "{\"hunter2\""),
        (json!({"format": "Yaml"}), "a: 1\nhunter2: [\n"),
        (json!({"format": "Toml"}), "a = hunter2"),
        (json!({"format": "Properties"}), "hunter2=\\uhunt"),
        (json!({"format": "Yaml", "schema": {"additionalProperties": false}}), "hunter2: hunter2"),
        (json!({"format": "Yaml", "schema": {"items": {"const": 1}}}), "[hunter2, hunter2]"),
        (json!({"pattern": "[0-9]+"}), SECRET),
        (json!({"cel": "value + 1 == 2"}), SECRET),
        (json!({"cel": "int(value) == 2"}), SECRET),
        (json!({"format": "Yaml", "cel": "value[text] == 2"}), "{hunter2: 1}"),
    ] {
        let found = compiled(rule.clone()).check(&source(text.as_bytes(), true), None, DEADLINE);
        assert_eq!(found.len(), 1, "{rule}: {found:?}");
        let shown = format!("{found:?} {}", serde_json::to_string(&found).unwrap());
        assert!(!shown.contains("hunt"), "{shown}");
        assert_eq!(found[0].line, None, "{rule}");
        assert!(found[0].message.starts_with("the value is not as the rule asks"), "{shown}");
    }
    assert!(!format!("{:?}", source(SECRET.as_bytes(), true)).contains(SECRET));
    let own = json!({"pattern": "[0-9]+", "message": "the PIN is made of digits"});
    let found = compiled(own).check(&source(SECRET.as_bytes(), true), None, DEADLINE);
    assert_eq!(found[0].message, "the PIN is made of digits");
}

#[test]
fn properties_are_read_as_java_reads_them() {
    let text = "# comment\n! too\n\n a = 1\nb:2\nc 3\nd\ne\\ f = g\\\n   h\\\\\nu\\u00e4=\\u0041\\t\\ud83d\\ude00\nk=#no\ncr=1\rcs=2\r\nx==y\nlast=z\\";
    let expected = json!({"a": "1", "b": "2", "c": "3", "d": "", "e f": "gh\\", "uä": "A\t😀", "k": "#no",
        "cr": "1", "cs": "2", "x": "=y", "last": "z"});
    check(json!({"format": "Properties", "schema": {"const": expected}}), text, "");
    check(json!({"format": "Properties"}), "a=\\ud83d", "1: the value is not a properties file: \\u escapes give half");
}

#[test]
fn only_the_keys_of_a_rule_are_looked_at() {
    let rule = compiled(json!({"keys": ["*.json", "x"], "format": "Json"}));
    let value = |key: &str| (key.to_owned(), Bytes::from_static(b"{"));
    let data = BTreeMap::from([value("a.json"), value("a.yaml"), value("x")]);
    let found = rule.check(&SourceData { data, ..SourceData::default() }, None, DEADLINE);
    assert_eq!(found.iter().map(|found| found.key.as_str()).collect::<Vec<_>>(), ["a.json", "x"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_input_panics(
        text in "\\PC{0,60}|([\\[\\]{}:,\"'\\\\#=\n\r\t \\-a1.&*!|>?%@u]){0,60}",
        pattern in "([a-c()|*+?\\[\\]{},0-9\\\\.^$]){1,20}",
        cel in "((value|text|old|key|size|all|has|map|x|1|'a'|true|in|\\?|:|==|\\+|-|!|&&|\\.|\\(|\\)|\\[|\\]|\\{|\\}|,| )){1,16}",
        format in prop::sample::select(vec!["Json", "Yaml", "Toml", "Properties"]),
        secret: bool,
    ) {
        for rule in [json!({"format": format, "schema": {"type": "object"}}), json!({"pattern": pattern}),
                     json!({"format": format, "cel": cel})] {
            if let Ok(compiled) = compile(&spec(rule), DEADLINE) {
                let data = source(text.as_bytes(), secret);
                for found in compiled.check(&data, Some(&data), DEADLINE) {
                    prop_assert!(!found.message.contains("the evaluation failed"), "{:?}", found);
                }
            }
        }
    }
}
