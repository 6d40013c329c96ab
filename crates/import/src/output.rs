//! Converted objects as text: YAML with the remarks as comments above each, or JSON.

use serde_json::{Value, json};

use crate::{Imported, Refused};

/// YAML, one document for each object, with what is lost and what differs as comments on top.
pub fn yaml(all: &[Imported]) -> Result<String, Refused> {
    let mut documents = vec![];
    for one in all {
        let comments: String = one.remarks.iter().map(|remark| format!("# {remark}\n")).collect();
        let body = serde_saphyr::to_string(&one.autoscaler)
            .map_err(|error| Refused::new(format!("the Autoscaler {} cannot be written: {error}", one.name)))?;
        documents.push(format!("{comments}{}\n", body.trim_end()));
    }
    Ok(documents.join("---\n"))
}

/// JSON: the object, or a list of several. It has no room for remarks.
pub fn json(all: &[Imported]) -> String {
    let value = match all {
        [one] => one.autoscaler.clone(),
        _ => {
            let items: Vec<&Value> = all.iter().map(|one| &one.autoscaler).collect();
            json!({"apiVersion": "v1", "kind": "List", "items": items})
        }
    };
    format!("{value:#}\n")
}
