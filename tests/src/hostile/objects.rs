//! The objects of a hostile namespace. Each is as large, as many or as costly as the API server takes it.

use serde_json::{Value, json};

use super::object;

const OURS: &str = "trimtab.dev/v1alpha1";
/// Autoscalers of each sort.
const AUTOSCALERS: usize = 20;
/// Policies that are made ready and thrown away again.
const POLICIES: usize = 40;
/// Objects of nearly a MiB.
const LARGE: usize = 20;

/// What a ConfigMap of the largest size holds.
const MIB: usize = 900 << 10;

/// Everything that there is from the start.
pub(super) fn all(server: &str) -> Vec<Value> {
    let mut all = vec![deployment("web"), deployment("scaled"), annotated(), plan()];
    all.extend(policies());
    all.extend(changing(0));
    all.extend((0..LARGE).map(|number| map(&format!("large-{number}"), &"x".repeat(MIB))));
    let mut autoscaler = |sort: &str, number: usize, query: &str, formula: Option<&str>| {
        let name = format!("{sort}-{number}");
        all.push(autoscaled(&name, server, &format!("{query} + {number}"), formula));
    };
    for number in 0..AUTOSCALERS {
        autoscaler("formula", number, "one", Some(&formula()));
        autoscaler("never", number, "never", None);
        autoscaler("endless", number, "endless", None);
        autoscaler("head", number, "head", None);
        autoscaler("nested", number, "nested", None);
    }
    all.extend((0..AUTOSCALERS).map(scheduled));
    all
}

/// What is written anew each second.
pub(super) fn changing(round: u64) -> Vec<Value> {
    let mut nested = "[],".repeat(MIB / 3);
    nested.insert(0, '[');
    nested.push_str("[]]");
    let mut web = deployment("web");
    web["metadata"]["labels"] = json!({ "round": round.to_string() });
    vec![
        map("words", &format!("{round}{}", "a".repeat(200 << 10))),
        map("lists", &format!("{nested}{}", " ".repeat((round % 7) as usize))),
        map("numbers", &format!("[{}{round}]", "0,".repeat(20_000))),
        web,
    ]
}

fn map(name: &str, text: &str) -> Value {
    object("v1", "ConfigMap", name, json!({ "data": { "k": text } }))
}

fn deployment(name: &str) -> Value {
    let read = |map: &str| json!({ "name": map, "configMap": { "name": map, "optional": true } });
    let mount = |map: &str| json!({ "name": map, "mountPath": format!("/{map}") });
    let maps = ["words", "lists", "numbers"];
    let container = json!({ "name": "web", "image": "trimtab.local/sample:v1", "imagePullPolicy": "Never",
        "volumeMounts": maps.map(mount) });
    let template = json!({ "metadata": { "labels": { "app": name } },
        "spec": { "containers": [container], "volumes": maps.map(read) } });
    let spec = json!({ "replicas": 1, "selector": { "matchLabels": { "app": name } }, "template": template });
    object("apps/v1", "Deployment", name, json!({ "spec": spec }))
}

/// Very many expressions in one annotation.
fn annotated() -> Value {
    let mut annotated = deployment("annotated");
    let expressions = "\\w_,".repeat(45_000);
    annotated["metadata"]["annotations"] = json!({ "configmap.reloader.stakater.com/reload": expressions });
    annotated
}

fn plan() -> Value {
    let steps = json!([{ "setWeight": 50 }]);
    let spec = json!({ "targetRef": { "name": "web" }, "config": { "adopt": "Now" },
        "strategy": { "canary": { "steps": steps } } });
    object(OURS, "ReleasePlan", "web", json!({ "spec": spec }))
}

fn policies() -> Vec<Value> {
    let about = |name: &str, source: &str, rule: Value| {
        let mut rule = rule;
        rule["name"] = json!("r");
        let spec = json!({ "selector": { "names": [source] }, "rules": [rule] });
        object(OURS, "ConfigPolicy", name, json!({ "spec": spec }))
    };
    let mut doubling = serde_json::Map::new();
    for depth in 0..40 {
        let next = json!({ "$ref": format!("#/$defs/d{}", depth + 1) });
        doubling.insert(format!("d{depth}"), json!({ "allOf": [next, next] }));
    }
    doubling.insert("d40".to_owned(), json!({ "type": "array" }));
    let slow = "value.all(x, value.all(y, value.all(z, x == y || text.matches('(a|b)*c'))))";
    let mut all = vec![
        about("pattern", "words", json!({ "pattern": "(?:[0-9a]{1,200}){1,20}b" })),
        about(
            "lists",
            "lists",
            json!({ "format": "Json", "schema": { "uniqueItems": true }, "cel": "size(value) > 0" }),
        ),
        about("yaml", "lists", json!({ "format": "Yaml", "schema": { "type": "object" } })),
        about("loops", "numbers", json!({ "format": "Json", "cel": slow })),
        about("schema", "numbers", json!({ "format": "Json", "schema": { "$ref": "#/$defs/d0", "$defs": doubling } })),
    ];
    for number in 0..POLICIES {
        let pattern = format!("[0-9]\\w{{1,9}}{number}.*");
        all.push(about(&format!("many-{number}"), "words", json!({ "pattern": pattern })));
    }
    all
}

/// A formula that goes round ten thousand times, and looks at a text each time.
fn formula() -> String {
    let hundred = format!("[{}0]", "0,".repeat(99));
    format!("{hundred}.all(a, {hundred}.all(b, !'{}'.matches('(x|y)*z{{1,50}}'))) ? 1.0 : 2.0", "x".repeat(64))
}

/// Windows that open again whenever they close, and one that changes each minute and no size.
fn scheduled(number: usize) -> Value {
    let endless = |n: usize| {
        json!({ "name": format!("w{n}"), "start": "* * 1-30 * *", "end": "* * * * *", "timeZone": "Europe/Berlin",
            "replicas": 3, "priority": 1 })
    };
    let idle = json!({ "name": "idle", "start": "*/2 * * * *", "end": "1-59/2 * * * *", "timeZone": "UTC", "minReplicas": 1,
        "priority": -1 });
    let schedules: Vec<Value> = (0..49).map(endless).chain([idle]).collect();
    let spec = json!({ "targetRef": { "kind": "Deployment", "name": "scaled" }, "maxReplicas": 2, "mode": "Recommend",
        "interval": "1s", "schedules": schedules });
    object(OURS, "Autoscaler", &format!("scheduled-{number}"), json!({ "spec": spec }))
}

fn autoscaled(name: &str, server: &str, query: &str, formula: Option<&str>) -> Value {
    let target = json!({ "type": "AverageValue", "averageValue": "1" });
    let prometheus = json!({ "name": "m", "address": server, "query": query, "target": target });
    let mut spec = json!({ "targetRef": { "kind": "Deployment", "name": "scaled" }, "maxReplicas": 2, "mode": "Recommend",
        "interval": "1s", "metrics": [{ "type": "Prometheus", "prometheus": prometheus }] });
    if let Some(formula) = formula {
        spec["formula"] = json!(formula);
    }
    object(OURS, "Autoscaler", name, json!({ "spec": spec }))
}
