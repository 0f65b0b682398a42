//! An authority for certificates, and a key for tokens, made by `openssl` and as short-lived as a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::tool::need_tool;
use crate::{TempDir, run, run_with_input};

const LIMIT: Duration = Duration::from_secs(60);

/// An authority that signs for this machine's loopback names.
#[derive(Debug)]
pub struct Authority {
    dir: TempDir,
}

impl Authority {
    /// Makes one.
    pub fn new() -> Self {
        let authority = Self {
            dir: TempDir::new(),
        };
        let mut request = openssl(authority.dir.path());
        request.args(["req", "-x509", "-days", "2", "-subj", "/CN=test authority"]);
        key_options(&mut request, "ca");
        request.args(["-out", "ca.pem"]);
        run(&mut request, LIMIT).expect_success();
        authority
    }

    /// Its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A certificate and key for a server on 127.0.0.1 and `localhost`.
    pub fn server(&self) -> (PathBuf, PathBuf) {
        self.sign(
            "server",
            "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n",
        )
    }

    /// A certificate and key for a client.
    pub fn client(&self) -> (PathBuf, PathBuf) {
        self.sign("client", "extendedKeyUsage=clientAuth\n")
    }

    fn sign(&self, name: &str, extensions: &str) -> (PathBuf, PathBuf) {
        let dir = self.dir.path();
        fs::write(dir.join("extensions"), extensions).expect("write what is to be signed");
        let mut request = openssl(dir);
        request.args(["req", "-subj", &format!("/CN={name}")]);
        key_options(&mut request, name);
        request.args(["-out", "request.pem"]);
        run(&mut request, LIMIT).expect_success();
        let certificate = format!("{name}.pem");
        let mut sign = openssl(dir);
        sign.args(["x509", "-req", "-in", "request.pem", "-days", "2"]);
        sign.args(["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]);
        sign.args(["-extfile", "extensions", "-out", &certificate]);
        run(&mut sign, LIMIT).expect_success();
        (dir.join(certificate), dir.join(format!("{name}.key")))
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A key that signs tokens for a registry. Source: distribution, token authentication specification.
#[derive(Debug)]
pub struct TokenKey {
    dir: TempDir,
    /// The certificate in the form that tokens carry it in.
    chain: String,
}

impl TokenKey {
    /// Makes one.
    pub fn new() -> Self {
        let dir = TempDir::new();
        let mut request = openssl(dir.path());
        request.args([
            "req",
            "-x509",
            "-days",
            "2",
            "-subj",
            "/CN=tokens",
            "-nodes",
        ]);
        request.args([
            "-newkey",
            "rsa:2048",
            "-keyout",
            "key.pem",
            "-out",
            "certificate.pem",
        ]);
        run(&mut request, LIMIT).expect_success();
        let pem = fs::read_to_string(dir.join("certificate.pem")).expect("it was made");
        let chain = pem.lines().filter(|line| !line.starts_with('-')).collect();
        Self { dir, chain }
    }

    /// The certificate that a registry is told to believe.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("certificate.pem")
    }

    /// A token by which `issuer` tells `service` what may be done (`access`), for `life` from now.
    pub fn token(&self, (issuer, service): (&str, &str), access: &Value, life: Duration) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("it is later than 1970")
            .as_secs();
        let head = json!({ "typ": "JWT", "alg": "RS256", "x5c": [self.chain] });
        let claims = json!({
            "iss": issuer, "sub": "tester", "aud": service, "jti": "1", "access": access,
            "iat": now, "nbf": now.saturating_sub(5), "exp": now + life.as_secs(),
        });
        let signed = format!(
            "{}.{}",
            base64url(head.to_string().as_bytes()),
            base64url(claims.to_string().as_bytes())
        );
        let mut sign = openssl(self.dir.path());
        sign.args(["dgst", "-sha256", "-sign", "key.pem", "-out"]);
        // Several tokens may be signed at the same time.
        let signature = self
            .dir
            .join(format!("signature-{:?}", std::thread::current().id()));
        sign.arg(&signature);
        run_with_input(&mut sign, signed.as_bytes(), LIMIT).expect_success();
        let bytes = fs::read(&signature).expect("it was made");
        format!("{signed}.{}", base64url(&bytes))
    }
}

impl Default for TokenKey {
    fn default() -> Self {
        Self::new()
    }
}

fn openssl(dir: &Path) -> Command {
    let mut command = Command::new(need_tool("openssl"));
    command.current_dir(dir);
    command
}

fn key_options(command: &mut Command, name: &str) {
    command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    command.args(["-nodes", "-keyout", &format!("{name}.key")]);
}

/// Base64 for addresses, without padding (RFC 4648, section 5).
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0u32, |group, byte| group << 8 | u32::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        for at in 0..=chunk.len() {
            text.push(ALPHABET[(group >> (18 - 6 * at)) as usize & 63].into());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64url;

    #[test]
    fn base64_has_no_padding() {
        for (text, wanted) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("\u{ff}\u{fe}", "w7_Dvg"),
        ] {
            assert_eq!(base64url(text.as_bytes()), wanted);
        }
    }
}
