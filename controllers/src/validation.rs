//! Answers the question whether a source is as policies ask: reads the object that pods would read and the copy before it, and has
//! `trimtab-validate` look at them. Nothing of what they hold is kept or told; only what was found is.

mod ready;

use std::collections::BTreeMap;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use bytes::Bytes;
use k8s_openapi::ByteString;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::StringDeserializer;
use serde_json::Value;
use trimtab::{Answerer, Apart, Reader};
use trimtab_config::{Judgement, NamedPolicy, PolicyFinding, PolicyProblem, Source, SourceKind, VALIDATE, Validate};
use trimtab_plan::Answer;
use trimtab_validate::{SourceData, THREAD};

use ready::Ready;

/// For one policy to be made ready.
const COMPILE: Duration = Duration::from_secs(2);
/// For one source to be checked against one policy.
const CHECK: Duration = Duration::from_secs(3);
/// The most findings of one source; more help nobody.
const FINDINGS: usize = 200;
/// For one source to be checked against all its policies: less than the question's deadline, so that what took long is told.
const ALL: Duration = Duration::from_secs(8);
/// Sources that are read and checked at a time, of one namespace half of them.
pub(crate) const AT_ONCE: usize = 4;
/// The most policies for one source.
pub(crate) const POLICIES: usize = 50;

/// The answerer of [`VALIDATE`]. Ask with a deadline of 10 s or more: a source may take 8.
pub fn answerer() -> Answerer {
    hide_panics();
    let (policies, turns) = (Arc::new(Ready::default()), Apart::new(AT_ONCE));
    Answerer::new(move |reader, name, input| {
        let (policies, turns) = (policies.clone(), turns.clone());
        async move {
            if name != VALIDATE {
                return Answer::Failed(format!("nothing answers the question {name:?}"));
            }
            validate(&reader, policies, turns, input).await.unwrap_or_else(|answer| answer)
        }
    })
}

/// Keeps what is said by a panic of a check off standard error: it may hold a value. The check itself ends as a finding.
fn hide_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() == Some(THREAD) {
                tracing::error!(at = panic.location().map(ToString::to_string), "a check of a policy panicked");
            } else {
                others(panic);
            }
        }));
    });
}

/// `Err` where there is nothing to judge.
async fn validate(reader: &Reader, policies: Arc<Ready>, turns: Apart, input: Value) -> Result<Answer, Answer> {
    let failed = |error: String| Answer::Failed(error);
    let asked: Validate = serde_json::from_value(input).map_err(|error| failed(format!("no question: {error}")))?;
    // What is read takes memory: it is read in a turn as well.
    let slot = turns.slot(&asked.namespace).await;
    let named = |name: &String| Source { kind: asked.source.kind, name: name.clone() };
    let new = read(reader, &asked, &asked.copy.as_ref().map_or_else(|| asked.source.clone(), named)).await?;
    if new.version != asked.resource_version {
        return judgement(&Judgement { changed: true, ..Judgement::default() });
    }
    let old = match &asked.old {
        None => None,
        Some(name) => match read(reader, &asked, &named(name)).await {
            Ok(copy) => Some(copy.data),
            // Without a copy, expressions see no value before.
            Err(Answer::NotFound) => None,
            Err(other) => return Err(other),
        },
    };
    let judged = slot.run(move || judge(&policies, &asked, &new.data, old.as_ref(), ALL)).await;
    judgement(&judged.map_err(|_| failed("the check ended early".to_owned()))?)
}

fn judgement(judged: &Judgement) -> Result<Answer, Answer> {
    serde_json::to_value(judged).map(Answer::Object).map_err(|error| Answer::Failed(error.to_string()))
}

/// An object as it was read.
pub(crate) struct Body {
    pub(crate) version: String,
    pub(crate) data: SourceData,
}

async fn read(reader: &Reader, asked: &Validate, source: &Source) -> Result<Body, Answer> {
    let raw = reader.get_as::<Raw>(&source.object(&asked.namespace)).await?;
    raw.body(source).ok_or_else(|| Answer::Failed(format!("{source} is unreadable")))
}

/// A ConfigMap or a Secret, of which nothing is kept but what it holds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    metadata: RawMeta,
    #[serde(default)]
    data: Option<BTreeMap<String, Option<String>>>,
    #[serde(default)]
    binary_data: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMeta {
    resource_version: String,
}

impl Raw {
    /// What it holds, decoded; `None` if it cannot be.
    fn body(self, source: &Source) -> Option<Body> {
        let secret = source.kind == SourceKind::Secret;
        let mut data = BTreeMap::new();
        for (key, value) in self.data.unwrap_or_default() {
            let value = value.unwrap_or_default();
            data.insert(key, if secret { decoded(value)? } else { Bytes::from(value) });
        }
        for (key, value) in self.binary_data.unwrap_or_default() {
            data.insert(key, decoded(value.unwrap_or_default())?);
        }
        let data = SourceData { source: source.to_string(), data, secret };
        Some(Body { version: self.metadata.resource_version, data })
    }
}

fn decoded(text: String) -> Option<Bytes> {
    let text: StringDeserializer<serde::de::value::Error> = text.into_deserializer();
    ByteString::deserialize(text).ok().map(|bytes| Bytes::from(bytes.0))
}

/// What a ConfigMap or a Secret holds, decoded; `None` if it is neither.
pub(crate) fn body(source: &Source, object: Value) -> Option<Body> {
    serde_json::from_value::<Raw>(object).ok()?.body(source)
}

fn judge(known: &Ready, asked: &Validate, live: &SourceData, old: Option<&SourceData>, all: Duration) -> Judgement {
    let (mut judged, began) = (Judgement::default(), Instant::now());
    let mut bad = |policy: &str, rule: String, message: String| {
        judged.bad.push(PolicyProblem { policy: policy.to_owned(), rule, message });
    };
    let mut findings = vec![];
    for (index, NamedPolicy { name, spec }) in asked.policies.iter().enumerate() {
        let left = all.saturating_sub(began.elapsed());
        if index >= POLICIES {
            let message = format!("more than {POLICIES} policies are about one source: this one was not looked at");
            bad(name, "*".to_owned(), message);
            break;
        }
        match known.compiled(&asked.namespace, spec, COMPILE.min(left)) {
            Ok(policy) => {
                findings.extend(policy.check(live, old, CHECK.min(left)).into_iter().map(|found| PolicyFinding {
                    policy: name.clone(),
                    key: found.key,
                    line: found.line,
                    rule: found.rule,
                    message: found.message,
                }));
            }
            Err(all) => all.iter().for_each(|one| bad(name, one.rule.clone(), one.message.clone())),
        }
        if findings.len() >= FINDINGS {
            findings.truncate(FINDINGS);
            break;
        }
    }
    judged.findings = findings;
    judged
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::Router;
    use axum::extract::State;
    use axum::http::{StatusCode, Uri};
    use serde_json::json;
    use trimtab::metrics::Metrics;

    use super::*;

    /// What a server with these objects, by path, is found to hold by one rule.
    async fn ask(objects: Value, input: Value) -> Answer {
        async fn get(State(objects): State<Value>, uri: Uri) -> (StatusCode, String) {
            match &objects[uri.path()] {
                Value::Null => (StatusCode::NOT_FOUND, "{}".to_owned()),
                object => (StatusCode::OK, object.to_string()),
            }
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(get).with_state(objects);
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let client = trimtab::client(kube::Config::new(address.parse().unwrap())).unwrap();
        let answer = answerer().answer(Reader::new(client, Metrics::new()), VALIDATE, input).await;
        server.abort();
        answer
    }

    fn map(version: &str, text: &str) -> Value {
        json!({"metadata": {"resourceVersion": version}, "data": {"a.yaml": text}, "binaryData": {"b": "/w=="}})
    }

    fn input(source: &str, rule: Value) -> Value {
        json!({"namespace": "n", "source": source, "resourceVersion": "7", "old": "web-1",
            "policies": [{"name": "p", "spec": {"rules": [rule]}}]})
    }

    #[tokio::test]
    async fn a_source_is_judged_against_what_was_before() {
        let objects = json!({
            "/api/v1/namespaces/n/configmaps/web": map("7", "a: 1\nport: x\nsize: 5\n"),
            "/api/v1/namespaces/n/configmaps/web-1": map("3", "port: 1\nsize: 2\n"),
        });
        let judge = async |rule: Value| Judgement::read(&ask(objects.clone(), input("cm/web", rule)).await);
        let rule = json!({"name": "r", "keys": ["*.yaml"], "format": "Yaml",
            "schema": {"properties": {"port": {"type": "integer"}}}, "cel": "value.size <= old.size * 2"});
        let judged = judge(rule).await.unwrap().unwrap();
        assert_eq!(judged.bad, []);
        let told: Vec<String> = judged.findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "a.yaml, line 2: /port: \"x\" is not of type \"integer\" (rule r of ConfigPolicy p)",
                "a.yaml: not true: value.size <= old.size * 2 (rule r of ConfigPolicy p)"
            ]
        );
        let fine = json!({"name": "r", "keys": ["*.yaml"], "format": "Yaml", "cel": "value.size > old.size"});
        assert!(judge(fine).await.unwrap().unwrap().allows());
        let bad = judge(json!({"name": "r", "cel": "vlaue"})).await.unwrap().unwrap();
        assert_eq!((bad.bad[0].rule.as_str(), bad.bad.len(), bad.allows()), ("r", 1, false));
    }

    #[tokio::test]
    async fn another_version_is_not_judged_and_a_missing_object_is_told() {
        let rule = json!({"name": "r", "format": "Json"});
        let objects = json!({"/api/v1/namespaces/n/configmaps/web": map("8", "{")});
        assert_eq!(
            ask(objects, input("cm/web", rule.clone())).await,
            Answer::Object(json!({"changed": true, "findings": []}))
        );
        assert_eq!(ask(json!({}), input("cm/web", rule.clone())).await, Answer::NotFound);
        // No copy: no value before.
        let objects =
            json!({"/api/v1/namespaces/n/configmaps/web": {"metadata": {"resourceVersion": "7"}, "data": {"a": "1"}}});
        let first = json!({"name": "r", "cel": "old == null"});
        assert_eq!(ask(objects, input("cm/web", first)).await, Answer::Object(json!({"findings": []})));
        assert!(matches!(ask(json!({}), json!({"namespace": 1})).await, Answer::Failed(_)));
    }

    #[tokio::test]
    async fn nothing_of_a_secret_leaves_but_its_keys() {
        // hunter2
        let secret = json!({"metadata": {"resourceVersion": "7"}, "data": {"pin": "aHVudGVyMg=="}});
        let objects = json!({"/api/v1/namespaces/n/secrets/web": secret});
        for rule in [json!({"name": "r", "format": "Json"}), json!({"name": "r", "cel": "value == text + text"})] {
            let answer = ask(objects.clone(), input("secret/web", rule)).await;
            let shown = serde_json::to_string(&answer).unwrap();
            assert!(!shown.contains("hunter") && !shown.contains("aHVudGVyMg"), "{shown}");
            assert!(shown.contains("\"key\":\"pin\"") && shown.contains("\"rule\":\"r\""), "{shown}");
        }
        let decoded = json!({"name": "r", "cel": "value == 'hunter2'"});
        assert_eq!(ask(objects, input("secret/web", decoded)).await, Answer::Object(json!({"findings": []})));
        let broken = json!({"/api/v1/namespaces/n/secrets/web": {"metadata": {"resourceVersion": "7"}, "data": {"pin": "hunter2!"}}});
        let answer = ask(broken, input("secret/web", json!({"name": "r", "format": "Json"}))).await;
        assert_eq!(answer, Answer::Failed("secret/web is unreadable".to_owned()));
    }

    fn asked(policies: usize, rule: &Value) -> Validate {
        let policy = |number: usize| json!({"name": format!("p{number}"), "spec": {"rules": [rule]}});
        let policies: Vec<Value> = (0..policies).map(policy).collect();
        serde_json::from_value(
            json!({"namespace": "n", "source": "cm/web", "resourceVersion": "7", "policies": policies}),
        )
        .unwrap()
    }

    fn live(text: &str) -> SourceData {
        let data = BTreeMap::from([("a".to_owned(), Bytes::from(text.to_owned()))]);
        SourceData { source: "cm/web".to_owned(), data, secret: false }
    }

    #[test]
    fn policies_beyond_the_limit_are_not_looked_at() {
        let rule = json!({"name": "r", "cel": "value != ''"});
        let judged = judge(&Ready::default(), &asked(POLICIES + 9, &rule), &live("x"), None, ALL);
        assert_eq!(judged.bad.len(), 1);
        assert!(judged.bad[0].policy == "p50" && judged.bad[0].message.contains("more than 50 policies"), "{judged:?}");
        assert!(judge(&Ready::default(), &asked(POLICIES, &rule), &live("x"), None, ALL).allows());
    }

    #[test]
    fn what_does_not_end_in_time_is_ended() {
        let rule = json!({"name": "r", "format": "Json", "cel": "value.all(x, value.all(y, x == y))"});
        let numbers = format!("[{}0]", "0,".repeat(20_000));
        let (began, short) = (Instant::now(), Duration::from_millis(100));
        let judged = judge(&Ready::default(), &asked(20, &rule), &live(&numbers), None, short);
        assert!(!judged.allows(), "{judged:?}");
        let told = |message: &String| message.contains("it takes") || message.contains("not compiled");
        assert!(judged.findings.iter().map(|found| &found.message).all(told), "{judged:?}");
        let findings = judged.findings.iter().map(|found| found.policy.as_str());
        let named: BTreeSet<&str> = findings.chain(judged.bad.iter().map(|bad| bad.policy.as_str())).collect();
        assert_eq!(named.len(), 20, "each policy is told");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }
}
