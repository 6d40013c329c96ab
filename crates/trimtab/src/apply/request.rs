//! The requests that writes are made of. Not sending them.

use http::{Method, Request};
use serde_json::{Value, json};
use trimtab_plan::{ObjectRef, Propagation, Subresource, Verb, Write};

use crate::path;

/// The request of a write, as `manager`.
pub(super) fn request(write: &Write, manager: &str) -> Result<Request<Vec<u8>>, String> {
    let target = &write.target;
    let query = format!("?fieldManager={manager}");
    let (method, uri, content, body) = match &write.verb {
        // What it copies is filled in before: see `Applier::completed`.
        Verb::Create { body } | Verb::CopyFrom { body, .. } => {
            let uri = path::collection(&target.kind, &target.namespace) + &query;
            (Method::POST, uri, "application/json", named(body, target))
        }
        Verb::Apply { body, force } => {
            let uri = format!("{}{query}&force={force}", path::object(target, ""));
            (Method::PATCH, uri, "application/apply-patch+yaml", named(body, target))
        }
        Verb::Patch { ops, subresource } => {
            let uri = path::object(target, subresource_name(*subresource)) + &query;
            let body = serde_json::to_value(ops).map_err(|error| error.to_string())?;
            (Method::PATCH, uri, "application/json-patch+json", body)
        }
        Verb::Merge { body, subresource } => {
            let uri = path::object(target, subresource_name(*subresource)) + &query;
            (Method::PATCH, uri, "application/merge-patch+json", body.clone())
        }
        Verb::Strategic { body, subresource } => {
            let uri = path::object(target, subresource_name(*subresource)) + &query;
            (Method::PATCH, uri, "application/strategic-merge-patch+json", body.clone())
        }
        Verb::Scale { replicas, from: None } => {
            let uri = path::object(target, "scale") + &query;
            (Method::PATCH, uri, "application/merge-patch+json", json!({ "spec": { "replicas": replicas } }))
        }
        Verb::Scale { replicas, from: Some(from) } => {
            let (uri, field) = (path::object(target, "scale") + &query, "/spec/replicas");
            // A scale of 0 has no such field, and what is not there passes for null.
            let seen = Some(*from).filter(|from| *from != 0);
            let test = json!({ "op": "test", "path": field, "value": seen });
            let set = json!({ "op": "add", "path": field, "value": replicas });
            (Method::PATCH, uri, "application/json-patch+json", json!([test, set]))
        }
        Verb::Delete { uid, resource_version, propagation } => {
            let body = delete_options(uid.as_deref(), resource_version.as_deref(), *propagation);
            (Method::DELETE, path::object(target, ""), "application/json", body)
        }
        Verb::Evict => {
            let metadata = json!({ "name": target.name, "namespace": target.namespace });
            let body = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata });
            (Method::POST, path::object(target, "eviction"), "application/json", body)
        }
    };
    // The last place before the wire: whatever a name came from, it is one segment and no more.
    if !path::is_plain(&uri) {
        return Err(format!("{target} is no object that can be written: {}", path::NOT_PLAIN));
    }
    let request = Request::builder().method(method).uri(uri).header(http::header::CONTENT_TYPE, content);
    request.body(body.to_string().into_bytes()).map_err(|error| error.to_string())
}

/// The request that asks what would become of a write, with its method. One that deletes is not asked about.
pub(crate) fn rehearsal(write: &Write, manager: &str) -> Result<(&'static str, Request<Vec<u8>>), String> {
    if matches!(write.verb, Verb::Delete { .. } | Verb::Evict | Verb::CopyFrom { .. }) {
        return Err("only a write whose whole body is known can be rehearsed".to_owned());
    }
    let mut request = request(write, manager)?;
    let uri = format!("{}&dryRun=All", request.uri());
    *request.uri_mut() = uri.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let method = if request.method() == Method::POST { "POST" } else { "PATCH" };
    Ok((method, request))
}

fn subresource_name(subresource: Option<Subresource>) -> &'static str {
    match subresource {
        None => "",
        Some(Subresource::Status) => "status",
        Some(Subresource::Scale) => "scale",
    }
}

/// The body with the names of its target.
fn named(body: &Value, target: &ObjectRef) -> Value {
    let mut body = body.clone();
    if !body.is_object() {
        body = json!({});
    }
    body["apiVersion"] = target.kind.api_version().into();
    body["kind"] = target.kind.kind.into();
    if !body["metadata"].is_object() {
        body["metadata"] = json!({});
    }
    body["metadata"]["name"] = target.name.as_str().into();
    if !target.namespace.is_empty() {
        body["metadata"]["namespace"] = target.namespace.as_str().into();
    }
    body
}

fn delete_options(uid: Option<&str>, version: Option<&str>, propagation: Propagation) -> Value {
    let propagation = match propagation {
        Propagation::Background => "Background",
        Propagation::Foreground => "Foreground",
        Propagation::Orphan => "Orphan",
    };
    let mut options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation });
    if uid.is_some() || version.is_some() {
        options["preconditions"] = json!({});
    }
    if let Some(uid) = uid {
        options["preconditions"]["uid"] = uid.into();
    }
    if let Some(version) = version {
        options["preconditions"]["resourceVersion"] = version.into();
    }
    options
}

#[cfg(test)]
mod tests {
    use trimtab_plan::Kind;

    use super::*;

    #[test]
    fn a_created_object_gets_the_names_of_its_target() {
        let kind = Kind::namespaced("apps", "v1", "ReplicaSet", "replicasets");
        let write = Write::create(kind.object("shop", "web"), json!({ "spec": {} }), "why");
        let request = request(&write, "trimtab-x").unwrap();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "/apis/apps/v1/namespaces/shop/replicasets?fieldManager=trimtab-x");
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        let expected = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": { "name": "web", "namespace": "shop" }, "spec": {},
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn a_rehearsal_stores_nothing() {
        let target = Kind::namespaced("apps", "v1", "Deployment", "deployments").object("shop", "web");
        let verb = Verb::Merge { body: json!({ "spec": { "paused": false } }), subresource: None };
        let write = Write { target: target.clone(), verb, why: "why".to_owned() };
        let (method, asked) = rehearsal(&write, "trimtab").unwrap();
        let uri = "/apis/apps/v1/namespaces/shop/deployments/web?fieldManager=trimtab&dryRun=All";
        assert_eq!((method, asked.uri().to_string().as_str()), ("PATCH", uri));
        assert!(rehearsal(&Write::delete(target, "u", "why"), "trimtab").is_err());
    }

    #[test]
    fn a_size_is_held_to_the_one_that_was_seen() {
        let target = Kind::namespaced("apps", "v1", "Deployment", "deployments").object("shop", "web");
        let body = |from: Option<i32>| {
            let verb = Verb::Scale { replicas: 3, from };
            let request = request(&Write { target: target.clone(), verb, why: String::new() }, "m").unwrap();
            serde_json::from_slice::<Value>(request.body()).unwrap()
        };
        assert_eq!(body(None), json!({ "spec": { "replicas": 3 } }));
        let held = |seen: Value| json!([{ "op": "test", "path": "/spec/replicas", "value": seen }, { "op": "add", "path": "/spec/replicas", "value": 3 }]);
        assert_eq!(body(Some(7)), held(json!(7)));
        assert_eq!(body(Some(0)), held(Value::Null));
    }

    #[test]
    fn a_deletion_is_held_to_its_uid() {
        let kind = Kind::namespaced("", "v1", "Pod", "pods");
        let request = request(&Write::delete(kind.object("a", "b"), "u-1", "why"), "m").unwrap();
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body["preconditions"], json!({ "uid": "u-1" }));
        assert_eq!(body["propagationPolicy"], "Background");
    }
}
