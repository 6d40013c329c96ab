//! What kinds are called on this API server, and whether they have a scale. Asked once for each group and version, and
//! again after a while: kinds come and go.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use trimtab::Reader;
use trimtab_plan::Answer;

/// For how long what was found out counts.
const FRESH: Duration = Duration::from_secs(60);

/// A kind as the server serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Served {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub namespaced: bool,
    pub has_scale: bool,
}

impl Served {
    /// The path of all objects of a namespace.
    pub(super) fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", self.group) };
        let namespace = Reader::encoded(namespace);
        match self.namespaced {
            true => format!("{root}/{}/namespaces/{namespace}/{}", self.version, self.plural),
            false => format!("{root}/{}/{}", self.version, self.plural),
        }
    }
}

/// What was found out so far.
#[derive(Default)]
pub(super) struct Discovery {
    lists: Mutex<HashMap<String, (Instant, Value)>>,
}

impl Discovery {
    /// What a kind is called.
    ///
    /// # Errors
    ///
    /// If there is no such kind, or the server does not say.
    pub(super) async fn kind(&self, reader: &Reader, api_version: &str, kind: &str) -> Result<Served, String> {
        let not_one = || format!("{api_version:?} is no API version: write for example apps/v1");
        let (group, version) = trimtab_crds::api_version(api_version).ok_or_else(not_one)?;
        let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let missing =
            || format!("the cluster has no {kind} of {api_version}: install it, or correct its apiVersion and kind");
        let list = self.list(reader, &path).await?.ok_or_else(missing)?;
        let resources = list["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
        let named = |resource: &&Value| {
            resource["kind"] == kind && resource["name"].as_str().is_some_and(|name| !name.contains('/'))
        };
        let found = resources.iter().find(named).ok_or_else(missing)?;
        let plural = found["name"].as_str().unwrap_or_default().to_owned();
        let scale = format!("{plural}/scale");
        Ok(Served {
            group: group.to_owned(),
            version: version.to_owned(),
            namespaced: found["namespaced"].as_bool().unwrap_or(true),
            has_scale: resources.iter().any(|resource| resource["name"] == *scale),
            plural,
        })
    }

    /// The version in which a group is served by preference. `None` if nobody serves it.
    pub(super) async fn version(&self, reader: &Reader, group: &str) -> Result<Option<String>, String> {
        let found = self.list(reader, &format!("/apis/{group}")).await?;
        Ok(found.and_then(|group| Some(group["preferredVersion"]["version"].as_str()?.to_owned())))
    }

    async fn list(&self, reader: &Reader, path: &str) -> Result<Option<Value>, String> {
        let known = {
            let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
            lists.get(path).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, list)| list.clone())
        };
        if known.is_some() {
            return Ok(known);
        }
        match reader.get_path(path).await {
            Answer::Object(list) => {
                let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
                lists.retain(|_, (at, _)| at.elapsed() < FRESH);
                lists.insert(path.to_owned(), (Instant::now(), list.clone()));
                Ok(Some(list))
            }
            Answer::NotFound => Ok(None),
            Answer::Failed(why) => Err(why),
        }
    }
}
