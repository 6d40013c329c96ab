//! The ConfigMaps and Secrets that a workload reads, with their copies, as the API server has them now. What they hold is
//! hashed while it is read and dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::Value;
use trimtab_config::SourceView;
use trimtab_config::{ConfigMapView, Known, Pins, SecretView, Source, SourceKind, reads};
use trimtab_crds::names;

use crate::{
    connect::Connection,
    situation::{get, list},
};

/// Reads what a Deployment reads. Secrets that may not be read are left out.
pub async fn read(to: &Connection, deployment: &Value) -> Result<BTreeMap<Source, Known<SourceView>>> {
    let template = &deployment["spec"]["template"];
    let pins =
        template.pointer("/metadata/annotations").and_then(|annotations| annotations.get(names::CONFIG)?.as_str());
    let named = Pins::of(pins).0.into_keys();
    let sources: BTreeSet<Source> = reads(template).sources.into_keys().chain(named).collect();
    let mut known = BTreeMap::new();
    for source in sources {
        if let Ok(found) = of(to, &source).await {
            known.insert(source, found);
        }
    }
    Ok(known)
}

/// What is known of one source.
pub async fn of(to: &Connection, source: &Source) -> Result<Known<SourceView>> {
    let live = get(to, source.kind.kind(), &source.name).await?;
    let live = live.map(|value| view(source.kind, value)).transpose()?;
    let labelled = list::<Value>(to, source.kind.kind(), names::COPY_LABEL).await?;
    let mut copies = vec![];
    for value in labelled {
        let copy = view(source.kind, value)?;
        if copy.as_ref().copy_of().as_ref() == Some(source) {
            copies.push(copy);
        }
    }
    Ok(Known { live, copies, strangers: vec![], unseen: false })
}

pub(crate) fn view(kind: SourceKind, value: Value) -> Result<SourceView> {
    // The message of the parser could quote what is secret.
    let unreadable = || format!("a {} cannot be read", kind.kind().kind);
    Ok(match kind {
        SourceKind::ConfigMap => SourceView::ConfigMap(Arc::new(
            serde_json::from_value::<ConfigMapView>(value).ok().with_context(unreadable)?,
        )),
        SourceKind::Secret => {
            SourceView::Secret(Arc::new(serde_json::from_value::<SecretView>(value).ok().with_context(unreadable)?))
        }
    })
}
