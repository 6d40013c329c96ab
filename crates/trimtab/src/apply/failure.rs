//! What the API server's refusals mean. Not what is done about them: that is the queue's and the controller's.

use http::StatusCode;
use kube::core::Status;
use trimtab_plan::{Class, Failure, Verb};

/// A failure of the write `index`.
pub(super) fn new(index: usize, class: Class, reason: &str, message: impl Into<String>) -> Failure {
    Failure { index, class, reason: reason.to_owned(), message: message.into(), lasting: false }
}

/// How the API server words a JSON patch that does not fit, of which a failed test is one kind.
const UNFIT_PATCH: &str = "the server rejected our request due to an error in our request";

/// What an answer that is no success means.
pub(super) fn refused(index: usize, verb: &Verb, code: StatusCode, body: &[u8]) -> Failure {
    let status: Option<Status> = serde_json::from_slice(body).ok();
    let (reason, message, named) = match &status {
        Some(status) => {
            let named = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
            (status.reason.as_str(), status.message.trim(), named)
        }
        None => ("", "", false),
    };
    let said = if message.is_empty() { format!("the API server answered {code}") } else { message.to_owned() };
    let or = |fallback: &'static str| if reason.is_empty() { fallback } else { reason };
    match code.as_u16() {
        404 if !named => {
            let hint = "the API server does not serve this kind; install its CRD, or check the version";
            new(index, Class::Blocked, "KindNotServed", format!("{hint} ({said})"))
        }
        404 => new(index, Class::Transient, "NotFound", said),
        403 if said.contains("exceeded quota") => {
            new(index, Class::Blocked, "ExceededQuota", format!("{said}; raise the quota or free some of it"))
        }
        // Nothing is wrong with the write: once the token is replaced it may be made.
        401 => {
            let why = "the API server does not accept this process's credentials: its token or certificate expired or was revoked";
            new(index, Class::Transient, "Unauthorized", format!("{why} ({said})"))
        }
        403 => new(index, Class::Blocked, or("Forbidden"), said),
        // Of a uid or resourceVersion to hold a deletion to: "the UID in the precondition (a) does not match …".
        409 if said.contains("in the precondition") || said.contains("Precondition failed") => {
            new(index, Class::Transient, "Precondition", said)
        }
        409 => new(index, Class::Transient, or("Conflict"), said),
        422 if matches!(verb, Verb::Patch { .. } | Verb::Scale { .. }) && said.contains(UNFIT_PATCH) => {
            new(index, Class::Transient, "Precondition", "the object is not as it was when this was decided")
        }
        400 | 405 | 413 | 415 | 422 => new(index, Class::Blocked, or("Invalid"), said),
        429 => new(index, Class::Transient, or("TooManyRequests"), said),
        504 => new(index, Class::Transient, or("Timeout"), said),
        _ => new(index, Class::Transient, or("ServerError"), said),
    }
}

#[cfg(test)]
mod tests {
    use trimtab_plan::Propagation;

    use super::*;

    fn body(reason: &str, message: &str, name: &str) -> Vec<u8> {
        let details = serde_json::json!({ "name": name });
        let status = serde_json::json!({
            "kind": "Status", "status": "Failure", "reason": reason, "message": message, "details": details,
        });
        status.to_string().into_bytes()
    }

    #[test]
    fn refusals_are_classed() {
        let patch = Verb::Patch { ops: vec![], subresource: None };
        let scale = Verb::Scale { replicas: 3, from: Some(2) };
        let delete = Verb::Delete { uid: None, resource_version: None, propagation: Propagation::Background };
        let quota = r#"pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"#;
        let invalid = r#"Deployment.apps "x" is invalid: spec.replicas: Invalid value: -1"#;
        let cases = [
            (
                &patch,
                404,
                body("NotFound", "the server could not find the requested resource", ""),
                "KindNotServed",
                Class::Blocked,
            ),
            (&patch, 404, body("NotFound", r#"pods "x" not found"#, "x"), "NotFound", Class::Transient),
            (&patch, 401, body("Unauthorized", "Unauthorized", ""), "Unauthorized", Class::Transient),
            (&patch, 403, body("Forbidden", "no", "x"), "Forbidden", Class::Blocked),
            (&patch, 403, body("Forbidden", quota, "x"), "ExceededQuota", Class::Blocked),
            (&patch, 409, body("Conflict", "the object has been modified", "x"), "Conflict", Class::Transient),
            (
                &delete,
                409,
                body("Conflict", "the UID in the precondition (a) does not match", "x"),
                "Precondition",
                Class::Transient,
            ),
            (&patch, 422, body("Invalid", UNFIT_PATCH, ""), "Precondition", Class::Transient),
            (&scale, 422, body("Invalid", UNFIT_PATCH, ""), "Precondition", Class::Transient),
            (&patch, 422, body("Invalid", invalid, "x"), "Invalid", Class::Blocked),
            (&patch, 429, b"Too many requests".to_vec(), "TooManyRequests", Class::Transient),
            (&patch, 500, body("InternalError", "oops", ""), "InternalError", Class::Transient),
            (&patch, 503, vec![], "ServerError", Class::Transient),
        ];
        for (verb, code, body, reason, class) in cases {
            let failure = refused(3, verb, StatusCode::from_u16(code).unwrap(), &body);
            assert_eq!((failure.index, failure.reason.as_str(), failure.class), (3, reason, class));
            assert!(!failure.message.is_empty());
        }
    }
}
