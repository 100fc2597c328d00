//! The certificate of the listeners, which can be replaced while they listen.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _};
use thiserror::Error;

use crate::config::Tls;

/// Why a certificate can't be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file can't be read as PEM.
    #[error("{}: {error}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: pem::Error,
    },
    /// Certificate and key do not go together, or are of an unknown kind.
    #[error("the TLS certificate can't be used: {0}")]
    Unfit(#[from] rustls::Error),
}

/// The certificate that new connections get. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Certificates(Arc<Current>);

#[derive(Debug)]
struct Current {
    provider: Arc<CryptoProvider>,
    key: ArcSwap<CertifiedKey>,
}

impl Certificates {
    /// Reads the files.
    pub(super) fn load(tls: &Tls) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let key = ArcSwap::from_pointee(read(tls, &provider)?);
        Ok(Self(Arc::new(Current { provider, key })))
    }

    /// Reads the files again; new connections get what is in them now.
    pub(super) fn reload(&self, tls: &Tls) -> Result<(), TlsError> {
        let key = read(tls, &self.0.provider)?;
        self.0.key.store(Arc::new(key));
        Ok(())
    }

    /// How a listener speaks TLS.
    pub(super) fn server_config(&self) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.0.provider));
        let resolver: Arc<Current> = Arc::clone(&self.0);
        Ok(builder.with_safe_default_protocol_versions()?.with_no_client_auth().with_cert_resolver(resolver))
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key.load_full())
    }
}

fn read(tls: &Tls, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let wrong = |path: &PathBuf, error| TlsError::Pem { path: path.clone(), error };
    let chain = CertificateDer::pem_file_iter(&tls.certificate).map_err(|error| wrong(&tls.certificate, error))?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|error| wrong(&tls.certificate, error))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| wrong(&tls.key, error))?;
    Ok(CertifiedKey::from_der(chain, key, provider)?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn write(folder: &Path) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(vec!["a.b".to_owned()]).unwrap();
        std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().to_vec()
    }

    #[test]
    fn a_reload_takes_the_new_certificate_or_keeps_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let tls = Tls { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem"), client: true };
        let first = write(folder.path());
        let certificates = Certificates::load(&tls).unwrap();
        let served = || certificates.0.key.load().cert[0].to_vec();
        assert_eq!(served(), first);
        let second = write(folder.path());
        certificates.reload(&tls).unwrap();
        assert_eq!(served(), second);
        std::fs::write(&tls.key, "no key").unwrap();
        assert!(certificates.reload(&tls).is_err());
        assert_eq!(served(), second);
    }
}
