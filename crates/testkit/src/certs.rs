//! A cluster's certificate authority, its identities and their kubeconfigs. Each lives and dies with its cluster; none is ever trusted
//! by anything else.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use serde_json::json;

/// A certificate authority that signs one cluster's identities.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name = name("trimtab-cluster", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server's identity, for these host names and addresses.
    pub(crate) fn server(&self, common_name: &str, hosts: &[String]) -> Result<Identity> {
        self.sign(name(common_name, &[]), hosts, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client's identity: the API server reads the user from the common name and the groups from the organisations.
    pub(crate) fn client(&self, user: &str, groups: &[&str]) -> Result<Identity> {
        self.sign(name(user, groups), &[], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, subject: DistinguishedName, hosts: &[String], usage: ExtendedKeyUsagePurpose) -> Result<Identity> {
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = subject;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }

    /// A kubeconfig for a client, with everything embedded.
    pub(crate) fn kubeconfig(&self, server: &str, client: &Identity) -> Result<String> {
        let data = |pem: &str| ByteString(pem.as_bytes().to_vec());
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "trimtab", "cluster": {"server": server, "certificate-authority-data": data(&self.pem())}}],
            "users": [{"name": "trimtab", "user": {
                "client-certificate-data": data(&client.certificate),
                "client-key-data": data(&client.key),
            }}],
            "contexts": [{"name": "trimtab", "context": {"cluster": "trimtab", "user": "trimtab"}}],
            "current-context": "trimtab",
        });
        Ok(serde_json::to_string_pretty(&config)?)
    }
}

/// A key pair that signs service account tokens, as PEM.
pub(crate) struct SigningKey {
    pub(crate) private: String,
    pub(crate) public: String,
}

pub(crate) fn signing_key() -> Result<SigningKey> {
    let pair = KeyPair::generate()?;
    Ok(SigningKey { private: pair.serialize_pem(), public: pair.public_key_pem() })
}

fn name(common_name: &str, organisations: &[&str]) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, common_name);
    // One organisation is all that rcgen keeps of a kind, and all that a cluster needs.
    for organisation in organisations {
        subject.push(DnType::OrganizationName, *organisation);
    }
    subject
}

/// Writes a file that only its owner may read.
pub(crate) fn write_secret(path: &Path, content: &str) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(content.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a certificate and its key as `NAME.crt` and `NAME.key`.
pub(crate) fn write_identity(dir: &Path, file: &str, identity: &Identity) -> Result<()> {
    write_secret(&dir.join(format!("{file}.crt")), &identity.certificate)?;
    write_secret(&dir.join(format!("{file}.key")), &identity.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_embeds_its_certificates() {
        let authority = Authority::new().unwrap();
        let admin = authority.client("admin", &["system:masters"]).unwrap();
        let config: serde_json::Value =
            serde_json::from_str(&authority.kubeconfig("https://127.0.0.1:1", &admin).unwrap()).unwrap();
        let data = config["users"][0]["user"]["client-certificate-data"].as_str().unwrap();
        assert!(data.len() > 200 && !data.contains("BEGIN"));
    }
}
