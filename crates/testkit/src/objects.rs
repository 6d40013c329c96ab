//! Objects of Kubernetes' kinds as JSON. A program that reads them whole, as the kinds' types do, has a megabyte of code for it, and
//! the command line, which brings clusters up, is such a program.

use anyhow::{Context, Result};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::{Client, Resource};
use serde_json::{Value, json};

/// The objects of a kind: those of all namespaces, where it has any.
pub(crate) fn all<K: Resource<DynamicType = ()>>(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &ApiResource::erase::<K>(&()))
}

/// The objects of a kind in a namespace.
pub(crate) fn within<K: Resource<DynamicType = ()>>(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<K>(&()))
}

/// An object of a kind, from all else of it.
pub(crate) fn object<K: Resource<DynamicType = ()>>(mut body: Value) -> Result<DynamicObject> {
    body["apiVersion"] = json!(K::api_version(&()));
    body["kind"] = json!(K::kind(&()));
    serde_json::from_value(body).with_context(|| format!("no {} can be made of it", K::kind(&())))
}

/// Whether a condition of its status is true.
pub(crate) fn is_true(object: &DynamicObject, condition: &str) -> bool {
    let conditions = object.data["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == condition && c["status"] == "True")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;

    use super::*;

    #[test]
    fn an_object_has_its_kind_and_tells_its_conditions() {
        let conditions = json!([{"type": "Ready", "status": "True"}, {"type": "Full", "status": "False"}]);
        let node = object::<Node>(json!({"metadata": {"name": "a"}, "status": {"conditions": conditions}})).unwrap();
        assert_eq!(serde_json::to_value(&node).unwrap()["kind"], "Node");
        assert!(is_true(&node, "Ready") && !is_true(&node, "Full") && !is_true(&node, "Gone"));
        assert!(!is_true(&object::<Node>(json!({"metadata": {}})).unwrap(), "Ready"));
    }
}
