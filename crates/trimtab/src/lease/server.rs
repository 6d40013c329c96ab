//! The requests of an election: read, create and replace one Lease, each sent once and given up in time.

use std::time::Duration;

use http::StatusCode;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};

use super::Options;
use super::elector::{Answer, Read, Record, Step};
use crate::contact::Contact;

pub(super) struct Server {
    api: Api<Lease>,
    namespace: String,
    name: String,
    /// Metadata as last seen: labels and owners that others put on the Lease survive our updates.
    metadata: ObjectMeta,
    contact: Contact,
}

impl Server {
    pub(super) fn new(client: Client, options: &Options, contact: Contact) -> Self {
        Self {
            api: Api::namespaced(client, &options.namespace),
            namespace: options.namespace.clone(),
            name: options.name.clone(),
            metadata: ObjectMeta::default(),
            contact,
        }
    }

    /// Does what a step says. The answer is [`Answer::Unknown`] after `timeout`.
    pub(super) async fn send(&mut self, step: Step, timeout: Duration) -> Answer {
        let result = match tokio::time::timeout(timeout, self.request(step)).await {
            Ok(result) => result,
            Err(_) => {
                self.contact.unanswered("the request about the lease timed out");
                tracing::warn!(lease = %self.name, ?timeout, "lease request timed out");
                return Answer::Unknown;
            }
        };
        match &result {
            Ok(_) | Err(Refused::Absent | Refused::Conflict) => self.contact.answered(StatusCode::OK),
            Err(Refused::Other(kube::Error::Api(status))) => {
                self.contact.answered(StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
            }
            Err(Refused::Other(error)) => self.contact.unanswered(&error.to_string()),
        }
        match result {
            Ok(lease) => self.take_in(lease),
            Err(Refused::Absent) => Answer::Absent,
            Err(Refused::Conflict) => Answer::Conflict,
            Err(Refused::Other(error)) => {
                tracing::warn!(lease = %self.name, %error, "lease request failed");
                Answer::Unknown
            }
        }
    }

    async fn request(&self, step: Step) -> Result<Lease, Refused> {
        let params = PostParams::default();
        match step {
            Step::Create(record) => {
                let metadata = ObjectMeta {
                    name: Some(self.name.clone()),
                    namespace: Some(self.namespace.clone()),
                    ..ObjectMeta::default()
                };
                self.api.create(&params, &lease(metadata, record)).await.map_err(Refused::write)
            }
            Step::Update(version, record) => {
                let metadata = ObjectMeta { resource_version: Some(version), ..self.metadata.clone() };
                self.api.replace(&self.name, &params, &lease(metadata, record)).await.map_err(Refused::write)
            }
            Step::Get | Step::Wait | Step::Lost => self.api.get(&self.name).await.map_err(Refused::read),
        }
    }

    fn take_in(&mut self, lease: Lease) -> Answer {
        let spec = lease.spec.unwrap_or_default();
        let Some(version) = lease.metadata.resource_version.clone() else { return Answer::Unknown };
        // An update with the fields that others manage would claim them.
        self.metadata = ObjectMeta { managed_fields: None, ..lease.metadata };
        Answer::Is(Read { version, record: record(spec) })
    }
}

enum Refused {
    Absent,
    Conflict,
    Other(kube::Error),
}

impl Refused {
    fn read(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 404 => Self::Absent,
            _ => Self::Other(error),
        }
    }

    /// 409 is both "already exists" and "has changed"; 404 means deleted meanwhile, or that the namespace is missing.
    fn write(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 409 => Self::Conflict,
            _ => Self::Other(error),
        }
    }
}

fn lease(metadata: ObjectMeta, record: Record) -> Lease {
    let spec = LeaseSpec {
        holder_identity: Some(record.holder),
        lease_duration_seconds: Some(record.duration_seconds),
        acquire_time: record.acquired.map(MicroTime),
        renew_time: record.renewed.map(MicroTime),
        lease_transitions: Some(record.transitions),
        ..LeaseSpec::default()
    };
    Lease { metadata, spec: Some(spec) }
}

fn record(spec: LeaseSpec) -> Record {
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration_seconds: spec.lease_duration_seconds.unwrap_or_default(),
        acquired: spec.acquire_time.map(|time| time.0),
        renewed: spec.renew_time.map(|time| time.0),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_record_survives_the_way_through_a_lease() {
        let there = Record {
            holder: "a".to_owned(),
            duration_seconds: 15,
            acquired: Some(Timestamp::UNIX_EPOCH),
            renewed: None,
            transitions: 2,
        };
        let back = record(lease(ObjectMeta::default(), there.clone()).spec.unwrap());
        assert_eq!(back, there);
    }
}
