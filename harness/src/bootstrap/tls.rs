//! Mutual TLS as Istio does it: short-lived certificates whose URI names the workload (SPIFFE), all of one authority.

use super::json::typed;
use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use serde_json::{Value, json};

/// A certificate authority.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, and the authority that it trusts.
#[derive(Clone, Debug)]
pub struct Identity {
    certificate: String,
    key: String,
    authority: String,
}

// === impl Authority ===

impl Authority {
    /// A new one, with a key of its own.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate().context("a key")?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// A certificate for `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
    ///
    /// # Errors
    /// If the URI is no ASCII, or no key can be made.
    pub fn issue(&self, uri: &str) -> Result<Identity> {
        let key = KeyPair::generate().context("a key")?;
        let mut params = CertificateParams::new(Vec::new())?;
        // Another name than the authority's, or it is taken for one that signed itself.
        params.distinguished_name.push(DnType::CommonName, "workload");
        params.subject_alt_names = vec![SanType::URI(uri.try_into().context("a URI")?)];
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem(), authority: self.certificate.clone() })
    }
}

// === impl Identity ===

impl Identity {
    /// The `transport_socket` of a cluster.
    pub(super) fn upstream(&self) -> Value {
        typed("tls", UPSTREAM, json!({"common_tls_context": self.context()}))
    }

    /// The `transport_socket` of a filter chain.
    pub(super) fn downstream(&self) -> Value {
        typed("tls", DOWNSTREAM, json!({"common_tls_context": self.context()}))
    }

    fn context(&self) -> Value {
        let text = |text: &str| json!({"inline_string": text});
        json!({
            "tls_certificates": [{"certificate_chain": text(&self.certificate), "private_key": text(&self.key)}],
            "validation_context": {"trusted_ca": text(&self.authority)},
        })
    }
}

const UPSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const DOWNSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
