//! The key under which digests of Secrets are made: kept in a Secret of the manager's namespace, made once. Whoever may
//! read a workload sees digests of the Secrets that it reads; without a key short secrets could be guessed from them.
//!
//! A lost key makes no new revision of equal content, since copies are compared by what they hold.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Client,
    api::{Api, ObjectMeta, PostParams},
};
use trimtab_config::DigestKey;

/// Name of the Secret.
pub const NAME: &str = "trimtab-digest-key";
const ENTRY: &str = "key";
/// A network that is lost says nothing.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);

/// The key: read, or made where there is none. Where that is forbidden, one that lasts as long as the process; then a
/// change that was undone may be taken for a new one after a restart.
///
/// # Errors
///
/// If the system gives no random bytes.
pub async fn read_or_make(client: &Client, namespace: &str) -> Result<DigestKey> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    loop {
        let error = match tokio::time::timeout(PATIENCE, kept(&secrets)).await {
            Ok(Ok(key)) => return Ok(key),
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("no answer from the API server within {} s", PATIENCE.as_secs()),
        };
        let refused = error.downcast_ref::<kube::Error>().is_some_and(|error| match error {
            // With a token that expired, and without a turn, nothing is said about permissions.
            kube::Error::Api(status) => (400..500).contains(&status.code) && ![401, 429].contains(&status.code),
            _ => false,
        });
        if refused {
            tracing::warn!(
                %error,
                "the key for digests of Secrets is not kept in Secret {namespace}/{NAME}; allow get and create of it"
            );
            return of_process();
        }
        tracing::warn!(%error, "the key for digests of Secrets cannot be read yet; trying again");
        tokio::time::sleep(RETRY).await;
    }
}

/// The key of a manager in this namespace, if there is one that may be read. None is made.
pub async fn existing(client: &Client, namespace: &str) -> Option<DigestKey> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = tokio::time::timeout(PATIENCE, secrets.get_opt(NAME)).await.ok()?.ok()?;
    found.and_then(|secret| parse(&secret).ok())
}

/// A key that lasts as long as the process.
///
/// # Errors
///
/// If the system gives no random bytes.
pub fn of_process() -> Result<DigestKey> {
    random().map(DigestKey::new)
}

async fn kept(secrets: &Api<Secret>) -> Result<DigestKey> {
    if let Some(secret) = secrets.get_opt(NAME).await? {
        return parse(&secret);
    }
    let bytes = random()?;
    let secret = Secret {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
        data: Some([(ENTRY.to_owned(), ByteString(bytes.to_vec()))].into()),
        immutable: Some(true),
        type_: Some("trimtab.dev/digest-key".to_owned()),
        ..Secret::default()
    };
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(made) => parse(&made),
        // Another replica was first.
        Err(kube::Error::Api(status)) if status.code == 409 => parse(&secrets.get(NAME).await?),
        Err(error) => Err(error.into()),
    }
}

fn parse(secret: &Secret) -> Result<DigestKey> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(ENTRY)).context("it has no entry \"key\"")?;
    let bytes: [u8; 32] = bytes.0.as_slice().try_into().ok().context("its entry \"key\" is not 32 bytes long")?;
    Ok(DigestKey::new(bytes))
}

fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    Ok(bytes)
}
