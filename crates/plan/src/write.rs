//! Writes: everything that a controller can do to the API server, as values. Not how they are sent.

use serde::Serialize;
use serde_json::Value;

use crate::ObjectRef;

/// One write. Writes of a plan are performed in order, each is idempotent, and the first failure stops the rest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Write {
    /// The object written to.
    pub target: ObjectRef,
    /// What is done to it.
    pub verb: Verb,
    /// Why, in a few words for the journal behind `why`: "start the canary".
    pub why: String,
}

/// What is done to an object.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Verb {
    /// Create the object. If it exists already the write fails as `AlreadyExists`, class transient: the store is
    /// behind, and the next decision sees the object.
    Create {
        /// The whole object; `apiVersion`, `kind` and names are filled in from the target.
        body: Value,
    },
    /// Create the object with some fields of another one, whose values no store holds. As `Create`; and if the other one
    /// is gone or not of that version any more, the write fails as `Precondition`.
    CopyFrom {
        /// The other object.
        source: ObjectRef,
        /// Its uid.
        uid: String,
        /// The version of it that the decision is about.
        resource_version: String,
        /// The fields that are copied, as far as it has them.
        fields: Vec<&'static str>,
        /// The rest of the new object.
        body: Value,
    },
    /// Server-side apply, as the controller's field manager.
    Apply {
        /// The fields that this controller owns.
        body: Value,
        /// Take over fields that others own.
        force: bool,
    },
    /// A JSON patch (RFC 6902). Its tests are the preconditions; a failing test is a transient `Precondition` failure.
    Patch {
        /// The operations, tests first.
        ops: Vec<PatchOp>,
        /// The subresource to patch.
        subresource: Option<Subresource>,
    },
    /// A JSON merge patch (RFC 7386) of metadata or spec.
    Merge {
        /// The fields to change; null removes.
        body: Value,
        /// The subresource to patch.
        subresource: Option<Subresource>,
    },
    /// A strategic merge patch of metadata, spec or status: lists whose items have names are merged by them. Only for
    /// Kubernetes' own kinds.
    Strategic {
        /// The fields to change; null removes.
        body: Value,
        /// The subresource to patch.
        subresource: Option<Subresource>,
    },
    /// Delete the object. That it is gone already is a success.
    Delete {
        /// Delete only the object with this uid.
        uid: Option<String>,
        /// Delete only this version of the object.
        resource_version: Option<String>,
        /// What happens to its dependents.
        propagation: Propagation,
    },
    /// Set `spec.replicas` through the scale subresource.
    Scale {
        /// The new number of replicas.
        replicas: i32,
        /// Only if there are so many until then; else the write fails as `Precondition`.
        from: Option<i32>,
    },
    /// Evict a pod through the eviction subresource, which respects PodDisruptionBudgets.
    Evict,
}

/// Subresources that patches may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Subresource {
    /// `/status`
    Status,
    /// `/scale`
    Scale,
}

/// What happens to the dependents of a deleted object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Propagation {
    /// The garbage collector deletes them afterwards.
    Background,
    /// They are deleted first.
    Foreground,
    /// They stay.
    Orphan,
}

/// One operation of a JSON patch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum PatchOp {
    /// Fail unless the value at the path equals this one.
    Test {
        /// JSON pointer.
        path: String,
        /// The value expected.
        value: Value,
    },
    /// Set the value at the path, whether it exists or not (its parent must exist).
    Add {
        /// JSON pointer.
        path: String,
        /// The new value.
        value: Value,
    },
    /// Set the value at the path, which must exist.
    Replace {
        /// JSON pointer.
        path: String,
        /// The new value.
        value: Value,
    },
    /// Remove the value at the path, which must exist.
    Remove {
        /// JSON pointer.
        path: String,
    },
}

impl PatchOp {
    /// A test of one value.
    pub fn test(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Test { path: path.into(), value: value.into() }
    }

    /// Sets one value.
    pub fn add(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Add { path: path.into(), value: value.into() }
    }

    /// Escapes a name for use in a JSON pointer: `a/b` becomes `a~1b`.
    pub fn escape(name: &str) -> String {
        name.replace('~', "~0").replace('/', "~1")
    }
}

impl Write {
    /// A JSON patch of the object itself.
    pub fn patch(target: ObjectRef, ops: Vec<PatchOp>, why: impl Into<String>) -> Self {
        Self { target, verb: Verb::Patch { ops, subresource: None }, why: why.into() }
    }

    /// Creates an object.
    pub fn create(target: ObjectRef, body: Value, why: impl Into<String>) -> Self {
        Self { target, verb: Verb::Create { body }, why: why.into() }
    }

    /// Deletes the object with this uid, its dependents in the background.
    pub fn delete(target: ObjectRef, uid: &str, why: impl Into<String>) -> Self {
        let verb =
            Verb::Delete { uid: Some(uid.to_owned()), resource_version: None, propagation: Propagation::Background };
        Self { target, verb, why: why.into() }
    }
}
