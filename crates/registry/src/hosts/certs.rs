//! Folders of certificates: `certs.d/HOST[:PORT]/`, the same for Docker, Podman and containerd.
//!
//! Source: docs.docker.com, "Verify repository client with certificates"; containers-certs.d(5).

use std::path::{Path, PathBuf};

use super::files::{broken, list, read};
use super::tls::{Identity, Tls, check_certificates, check_key};
use crate::Result;

/// What the file names of a folder mean.
#[derive(Debug, Default, PartialEq, Eq)]
struct Roles {
    /// Authorities.
    roots: Vec<String>,
    /// Client certificates, each with its key.
    pairs: Vec<(String, String)>,
}

/// Reads a folder; nothing if it is not there.
pub(super) fn read_folder(dir: &Path) -> Result<Tls> {
    let names = list(dir)?;
    let roles = roles(&names).map_err(|(name, reason)| broken(&dir.join(name), reason))?;
    let mut tls = Tls::default();
    for name in roles.roots {
        tls.add(root(&dir.join(name))?);
    }
    if let Some((certificate, key)) = roles.pairs.first() {
        let pair = identity(&dir.join(certificate), Some(&dir.join(key)))?;
        tls.identity = pair;
    }
    Ok(tls)
}

/// An authority in a file; nothing if it may not be read by us.
pub(super) fn root(path: &Path) -> Result<Tls> {
    let Some(pem) = read(path)? else {
        return Ok(Tls::default());
    };
    check_certificates(&pem).map_err(|reason| broken(path, reason))?;
    Ok(Tls {
        roots: vec![pem],
        root_files: vec![PathBuf::from(path)],
        ..Tls::default()
    })
}

/// A client certificate with its key, in one file or in two; `None` if they may not be read by us.
pub(super) fn identity(certificate: &Path, key: Option<&Path>) -> Result<Option<Identity>> {
    let Some(mut pem) = read(certificate)? else {
        return Ok(None);
    };
    check_certificates(&pem).map_err(|reason| broken(certificate, reason))?;
    let key_file = key.unwrap_or(certificate);
    let Some(key) = read(key_file)? else {
        return Ok(None);
    };
    check_key(&key).map_err(|reason| broken(key_file, reason))?;
    if key_file != certificate {
        pem.push(b'\n');
        pem.extend(key);
    }
    Ok(Some(Identity {
        pem,
        file: certificate.to_owned(),
    }))
}

/// Sorts names by their endings. Errors: a name and what is wrong with it.
fn roles(names: &[String]) -> Result<Roles, (String, String)> {
    let mut roles = Roles::default();
    for name in names {
        if name.ends_with(".crt") {
            roles.roots.push(name.clone());
        } else if let Some(stem) = name.strip_suffix(".cert") {
            let key = format!("{stem}.key");
            if !names.contains(&key) {
                let reason = format!(
                    "its key {key} is missing beside it; the certificate of an authority is called *.crt"
                );
                return Err((name.clone(), reason));
            }
            roles.pairs.push((name.clone(), key));
        } else if let Some(stem) = name.strip_suffix(".key") {
            let certificate = format!("{stem}.cert");
            if !names.contains(&certificate) {
                let reason = format!("its certificate {certificate} is missing beside it");
                return Err((name.clone(), reason));
            }
        }
    }
    Ok(roles)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Result<Roles, (String, String)> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        roles(&names)
    }

    #[test]
    fn endings_tell_authorities_from_clients() {
        let found = named(&["README", "ca.crt", "client.cert", "client.key", "more.crt"]).unwrap();
        assert_eq!(found.roots, ["ca.crt", "more.crt"]);
        let pair = ("client.cert".to_owned(), "client.key".to_owned());
        assert_eq!(found.pairs, [pair]);
    }

    #[test]
    fn halves_of_pairs_are_named() {
        let (name, reason) = named(&["client.cert"]).unwrap_err();
        assert_eq!(name, "client.cert");
        assert!(reason.contains("client.key") && reason.contains("*.crt"));
        let (name, reason) = named(&["client.key"]).unwrap_err();
        assert_eq!(name, "client.key");
        assert!(reason.contains("client.cert"));
    }

    #[test]
    fn files_that_are_no_certificates_are_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.crt"), "hello").unwrap();
        let error = read_folder(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("ca.crt") && error.contains("no certificate"),
            "{error}"
        );
        assert!(read_folder(&dir.path().join("none")).unwrap().is_default());
    }
}
