//! JSON patch (RFC 6902, what writes use of it) and JSON merge patch (RFC 7386).

use serde_json::{Map, Value};
use trimtab_plan::PatchOp;

/// Applies all operations; on the first that does not fit nothing counts.
pub fn json_patch(object: &Value, ops: &[PatchOp]) -> Result<Value, String> {
    let mut new = object.clone();
    for op in ops {
        apply(&mut new, op)?;
    }
    Ok(new)
}

fn apply(object: &mut Value, op: &PatchOp) -> Result<(), String> {
    match op {
        PatchOp::Test { path, value } => match object.pointer(path) {
            Some(found) if found == value => Ok(()),
            found => Err(format!("test of {path} failed: {found:?} is not {value}")),
        },
        PatchOp::Add { path, value } => set(object, path, value.clone()),
        PatchOp::Replace { path, value } => match object.pointer_mut(path) {
            Some(place) => {
                *place = value.clone();
                Ok(())
            }
            None => Err(format!("nothing to replace at {path}")),
        },
        PatchOp::Remove { path } => {
            let (parent, key) = split(path);
            let removed = object.pointer_mut(parent).and_then(Value::as_object_mut).and_then(|map| map.remove(&key));
            removed.map(|_| ()).ok_or_else(|| format!("nothing to remove at {path}"))
        }
    }
}

fn split(path: &str) -> (&str, String) {
    let (parent, key) = path.rsplit_once('/').unwrap_or(("", path));
    (parent, key.replace("~1", "/").replace("~0", "~"))
}

fn set(object: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let (parent, key) = split(path);
    let place = object.pointer_mut(parent).ok_or_else(|| format!("{path} has no parent"))?;
    let map = place.as_object_mut().ok_or_else(|| format!("the parent of {path} is no object"))?;
    map.insert(key, value);
    Ok(())
}

/// Merges: null removes.
pub fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
