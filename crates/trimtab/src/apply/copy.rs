//! Writes that copy fields of another object: it is read right before, and its values are dropped right after. They are
//! in no plan, no journal and no log. Not the creation itself: that is a write like any other.

use std::borrow::Cow;

use http::{Request, StatusCode};
use serde_json::Value;
use tokio::time::Instant;
use trimtab_plan::{Class, Failure, Verb, Write};

use super::{Applier, REQUEST, failure};
use crate::path;

impl Applier {
    /// The write with the values that it copies, where it copies any.
    pub(super) async fn completed<'w>(
        &self,
        index: usize,
        write: &'w Write,
        deadline: Instant,
    ) -> Result<Cow<'w, Write>, Failure> {
        let Verb::CopyFrom { source, uid, resource_version, fields, body } = &write.verb else {
            return Ok(Cow::Borrowed(write));
        };
        let invalid = |error: String| failure::new(index, Class::Blocked, "Invalid", error);
        let path = path::object(source, "");
        if !path::is_plain(&path) {
            return Err(invalid(format!("{source} cannot be read: {}", path::NOT_PLAIN)));
        }
        let request = Request::get(path).body(vec![]).map_err(|error| invalid(error.to_string()))?;
        let until = deadline.min(Instant::now() + REQUEST);
        let (code, _, bytes) = self.exchange(index, &request, until).await?;
        let changed = || {
            let message = format!("{source} is not as it was when this was decided");
            failure::new(index, Class::Transient, "Precondition", message)
        };
        if code == StatusCode::NOT_FOUND {
            return Err(changed());
        }
        if !code.is_success() {
            return Err(failure::refused(index, &write.verb, code, &bytes));
        }
        // What cannot be read is not quoted: it may be secret.
        let unreadable = |_| failure::new(index, Class::Transient, "Unreadable", format!("{source} could not be read"));
        let read: Value = serde_json::from_slice(&bytes).map_err(unreadable)?;
        let is = |pointer: &str, text: &str| read.pointer(pointer).and_then(Value::as_str) == Some(text);
        if !is("/metadata/uid", uid) || !is("/metadata/resourceVersion", resource_version) {
            return Err(changed());
        }
        let mut body = body.clone();
        for field in fields {
            if let Some(value) = read.get(field).filter(|value| !value.is_null()) {
                body[*field] = value.clone();
            }
        }
        Ok(Cow::Owned(Write { target: write.target.clone(), verb: Verb::Create { body }, why: write.why.clone() }))
    }
}
