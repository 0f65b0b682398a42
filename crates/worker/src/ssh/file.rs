//! Files with private keys: OpenSSH's own format, PKCS#1 and PKCS#8.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair as RsaKeyPair, KeyPairComponents, PublicKeyComponents};
use ring::signature::{EcdsaKeyPair, Ed25519KeyPair};

use super::key::{CURVES, Key};
use super::modulus::rem_minus_one;
use super::wire::Reader;

pub(super) const NO_KEY: &str = "no private key that ssh would know";
const BROKEN: &str = "the key is damaged";
const ENCRYPTED: &str = "the key has a passphrase: add it to an agent (ssh-add) and name the agent's socket, \
     or give --ssh default alone";
const KIND: &str = "keys of this kind are not supported here: add it to an agent (ssh-add) and name the agent's \
     socket; ed25519, ecdsa on nistp256 and nistp384, and rsa of 2048 to 4096 bits are";

/// What every key in OpenSSH's format begins with.
/// Source: PROTOCOL.key of OpenSSH.
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// Why a file is refused.
type Reason = &'static str;

/// Reads the first key of a file.
pub(super) fn parse(text: &str) -> Result<Key, Reason> {
    let (label, body) = pem(text).ok_or(NO_KEY)?;
    if label == "ENCRYPTED PRIVATE KEY" || body.contains("ENCRYPTED") {
        return Err(ENCRYPTED);
    }
    let body: String = body.split_whitespace().collect();
    let bytes = STANDARD.decode(body).map_err(|_| BROKEN)?;
    match label {
        "OPENSSH PRIVATE KEY" => openssh(&bytes),
        "RSA PRIVATE KEY" => {
            let pair = RsaKeyPair::from_der(&bytes).map_err(|_| KIND)?;
            Ok(Key::rsa(pair, String::new()))
        }
        "PRIVATE KEY" => pkcs8(&bytes).ok_or(KIND),
        label if label.ends_with("PRIVATE KEY") => Err(KIND),
        _ => Err(NO_KEY),
    }
}

/// The label of the first block, and what is in it.
fn pem(text: &str) -> Option<(&str, &str)> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    Some((label, body))
}

fn pkcs8(bytes: &[u8]) -> Option<Key> {
    let none = String::new();
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes) {
        return Some(Key::ed25519(pair, none));
    }
    for curve in CURVES {
        let pair = EcdsaKeyPair::from_pkcs8(curve.algorithm, bytes, &SystemRandom::new());
        if let Ok(pair) = pair {
            return Some(Key::ecdsa(pair, curve, none));
        }
    }
    let pair = RsaKeyPair::from_pkcs8(bytes).ok()?;
    Some(Key::rsa(pair, none))
}

fn openssh(bytes: &[u8]) -> Result<Key, Reason> {
    let mut outer = Reader::new(bytes.strip_prefix(MAGIC).ok_or(BROKEN)?);
    if outer.bytes().ok_or(BROKEN)? != b"none" {
        return Err(ENCRYPTED);
    }
    let private = private_part(&mut outer).ok_or(BROKEN)?;
    let mut inner = Reader::new(private);
    // Twice the same number: it tells a right passphrase from a wrong one.
    if inner.u32().ok_or(BROKEN)? != inner.u32().ok_or(BROKEN)? {
        return Err(BROKEN);
    }
    match inner.bytes().ok_or(BROKEN)? {
        b"ssh-ed25519" => ed25519(&mut inner),
        b"ssh-rsa" => rsa(&mut inner),
        kind if kind.starts_with(b"ecdsa-sha2-") => ecdsa(&mut inner),
        _ => Err(KIND),
    }
}

/// Skips the derivation of the cipher's key, and the public keys.
fn private_part<'a>(outer: &mut Reader<'a>) -> Option<&'a [u8]> {
    let (_derivation, _options) = (outer.bytes()?, outer.bytes()?);
    for _ in 0..outer.u32()? {
        outer.bytes()?;
    }
    outer.bytes()
}

fn comment(inner: &mut Reader<'_>) -> String {
    String::from_utf8_lossy(inner.bytes().unwrap_or_default()).into_owned()
}

fn ed25519(inner: &mut Reader<'_>) -> Result<Key, Reason> {
    let public = inner.bytes().ok_or(BROKEN)?;
    let (seed, _) = inner
        .bytes()
        .and_then(|both| both.split_at_checked(32))
        .ok_or(BROKEN)?;
    let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(|_| BROKEN)?;
    Ok(Key::ed25519(pair, comment(inner)))
}

fn ecdsa(inner: &mut Reader<'_>) -> Result<Key, Reason> {
    let name = inner.bytes().ok_or(BROKEN)?;
    let mut curves = CURVES.into_iter();
    let curve = curves
        .find(|curve| curve.name.as_bytes() == name)
        .ok_or(KIND)?;
    let public = inner.bytes().ok_or(BROKEN)?;
    let number = inner.natural().ok_or(BROKEN)?;
    let missing = curve.size.checked_sub(number.len()).ok_or(BROKEN)?;
    let mut private = vec![0; missing];
    private.extend_from_slice(number);
    let random = SystemRandom::new();
    let pair =
        EcdsaKeyPair::from_private_key_and_public_key(curve.algorithm, &private, public, &random);
    Ok(Key::ecdsa(pair.map_err(|_| BROKEN)?, curve, comment(inner)))
}

fn rsa(inner: &mut Reader<'_>) -> Result<Key, Reason> {
    let mut next = || inner.natural().ok_or(BROKEN);
    let (n, e, d) = (next()?, next()?, next()?);
    let (inverse, p, q) = (next()?, next()?, next()?);
    let components = KeyPairComponents {
        public_key: PublicKeyComponents {
            n: n.to_vec(),
            e: e.to_vec(),
        },
        d: d.to_vec(),
        p: p.to_vec(),
        q: q.to_vec(),
        dP: shorter(rem_minus_one(d, p))?,
        dQ: shorter(rem_minus_one(d, q))?,
        qInv: inverse.to_vec(),
    };
    let pair = RsaKeyPair::from_components(&components).map_err(|_| KIND)?;
    Ok(Key::rsa(pair, comment(inner)))
}

fn shorter(number: Option<Vec<u8>>) -> Result<Vec<u8>, Reason> {
    let number = number.ok_or(BROKEN)?;
    Ok(super::wire::without_zeros(&number).to_vec())
}
