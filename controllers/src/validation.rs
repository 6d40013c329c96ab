//! Answers the question whether a source is as policies ask: reads the live object and the copy before it, and has
//! `trimtab-validate` look at them. Nothing of what they hold is kept or told; only what was found is.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::Value;
use trimtab::{Answerer, Reader};
use trimtab_config::{Judgement, NamedPolicy, PolicyFinding, PolicyProblem, Source, SourceKind, VALIDATE, Validate};
use trimtab_crds::ConfigPolicySpec;
use trimtab_plan::Answer;
use trimtab_validate::{BadRule, Compiled, SourceData, THREAD, compile};

/// For one policy to be made ready.
const COMPILE: Duration = Duration::from_secs(2);
/// For one source to be checked against one policy.
const CHECK: Duration = Duration::from_secs(3);
/// Policies that are kept ready.
const KEPT: usize = 256;

/// The answerer of [`VALIDATE`]. Ask with a deadline of 10 s or more: a policy may take 5.
pub fn answerer() -> Answerer {
    hide_panics();
    let policies = Arc::new(Policies::default());
    Answerer::new(move |reader, name, input| {
        let policies = policies.clone();
        async move {
            if name != VALIDATE {
                return Answer::Failed(format!("nothing answers the question {name:?}"));
            }
            validate(&reader, policies, input).await.unwrap_or_else(|answer| answer)
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
async fn validate(reader: &Reader, policies: Arc<Policies>, input: Value) -> Result<Answer, Answer> {
    let failed = |error: String| Answer::Failed(error);
    let asked: Validate = serde_json::from_value(input).map_err(|error| failed(format!("no question: {error}")))?;
    let live = read(reader, &asked, &asked.source).await?;
    if live.version != asked.resource_version {
        return judgement(&Judgement { changed: true, ..Judgement::default() });
    }
    let old = match &asked.old {
        None => None,
        Some(name) => match read(reader, &asked, &Source { kind: asked.source.kind, name: name.clone() }).await {
            Ok(copy) => Some(copy.data),
            // Without a copy, expressions see no value before.
            Err(Answer::NotFound) => None,
            Err(other) => return Err(other),
        },
    };
    // Checks block their thread, and this one is the reconciles'.
    let judged = tokio::task::spawn_blocking(move || judge(&policies, &asked.policies, &live.data, old.as_ref()));
    judgement(&judged.await.map_err(|_| failed("the check ended early".to_owned()))?)
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
    match reader.get(&source.object(&asked.namespace)).await {
        // What serde says of a wrong type may hold the value.
        Answer::Object(object) => body(source, object).ok_or_else(|| Answer::Failed(format!("{source} is unreadable"))),
        other => Err(other),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    metadata: RawMeta,
    #[serde(default)]
    data: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    binary_data: Option<BTreeMap<String, ByteString>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMeta {
    resource_version: String,
}

/// What a ConfigMap or a Secret holds, decoded; `None` if it is neither.
pub(crate) fn body(source: &Source, object: Value) -> Option<Body> {
    let raw: Raw = serde_json::from_value(object).ok()?;
    let secret = source.kind == SourceKind::Secret;
    let plain = |value: Value| match value {
        Value::String(text) => Some(Bytes::from(text)),
        Value::Null => Some(Bytes::new()),
        _ => None,
    };
    let encoded = |value: Value| match value {
        Value::Null => Some(Bytes::new()),
        value => serde_json::from_value::<ByteString>(value).ok().map(|bytes| Bytes::from(bytes.0)),
    };
    let mut data = BTreeMap::new();
    for (key, value) in raw.data.unwrap_or_default() {
        data.insert(key, if secret { encoded(value)? } else { plain(value)? });
    }
    data.extend(raw.binary_data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, Bytes::from(bytes.0))));
    let data = SourceData { source: source.to_string(), data, secret };
    Some(Body { version: raw.metadata.resource_version, data })
}

fn judge(known: &Policies, asked: &[NamedPolicy], live: &SourceData, old: Option<&SourceData>) -> Judgement {
    let mut judged = Judgement::default();
    for NamedPolicy { name, spec } in asked {
        match known.compiled(spec) {
            Ok(policy) => {
                judged.findings.extend(policy.check(live, old, CHECK).into_iter().map(|found| PolicyFinding {
                    policy: name.clone(),
                    key: found.key,
                    line: found.line,
                    rule: found.rule,
                    message: found.message,
                }))
            }
            Err(bad) => judged.bad.extend(bad.iter().map(|bad| PolicyProblem {
                policy: name.clone(),
                rule: bad.rule.clone(),
                message: bad.message.clone(),
            })),
        }
    }
    judged
}

/// A policy that is ready, or the rules that keep it from being so.
type Made = Result<Compiled, Arc<[BadRule]>>;

/// What became of policies, by their JSON.
#[derive(Default)]
struct Policies(Mutex<HashMap<String, Made>>);

impl Policies {
    fn compiled(&self, spec: &ConfigPolicySpec) -> Made {
        let id = serde_json::to_string(spec).unwrap_or_default();
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        known.unwrap_or_else(|| {
            let made = compile(spec, COMPILE).map_err(Arc::from);
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Rarely so many: to make some of them again costs less than to know which were used last.
            if all.len() >= KEPT {
                all.clear();
            }
            all.insert(id, made.clone());
            made
        })
    }
}

#[cfg(test)]
mod tests {
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
}
