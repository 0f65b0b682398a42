//! Files with private keys: OpenSSH's own format, PKCS#1, PKCS#8 and SEC1.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair as RsaKeyPair, KeyPairComponents, PublicKeyComponents};
use ring::signature::{EcdsaKeyPair, Ed25519KeyPair};

use super::der::{self, Elements};
use super::key::{CURVES, Curve, Key};
use super::modulus::rem_minus_one;
use super::wire::Reader;

pub(super) const NO_KEY: &str = "no private key that ssh would know";
const BROKEN: &str = "the key is damaged";
const ENCRYPTED: &str = "the key has a passphrase: add it to an agent (ssh-add) and name the agent's socket, \
     or give --ssh default alone";
const HALF: &str = "the file lacks the public half of the key: write it anew with ssh-keygen -p, or add it to an \
     agent (ssh-add) and name the agent's socket";

/// What every key in OpenSSH's format begins with.
/// Source: PROTOCOL.key of OpenSSH.
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// The block that `openssl ecparam` writes before a key.
const PARAMETERS: &str = "EC PARAMETERS";

// Names of kinds of keys, as DER has them.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01];
const ED448: &[u8] = &[0x2b, 0x65, 0x71];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// Why a file is refused.
type Reason = Cow<'static, str>;

/// Reads the first key of a file.
pub(super) fn parse(text: &str) -> Result<Key, Reason> {
    let (label, body) = pem(text).ok_or(NO_KEY)?;
    if label == "ENCRYPTED PRIVATE KEY" || body.contains("ENCRYPTED") {
        return Err(ENCRYPTED.into());
    }
    let body: String = body.split_whitespace().collect();
    let bytes = STANDARD.decode(body).map_err(|_| BROKEN)?;
    match label {
        "OPENSSH PRIVATE KEY" => openssh(&bytes),
        "RSA PRIVATE KEY" => {
            let pair = RsaKeyPair::from_der(&bytes).map_err(|_| rsa_refused())?;
            Ok(Key::rsa(pair, String::new()))
        }
        "EC PRIVATE KEY" => sec1(&bytes, None),
        "PRIVATE KEY" => pkcs8(&bytes),
        "DSA PRIVATE KEY" => Err(unsupported("dsa")),
        _ => Err(NO_KEY.into()),
    }
}

/// Says that keys of a kind cannot be used here, and what to do.
fn unsupported(kind: &str) -> Reason {
    format!(
        "{kind} keys are not supported here: add it to an agent (ssh-add) and name the agent's socket; \
         ed25519, ecdsa on nistp256 and nistp384, and rsa of 2048 to 4096 bits are"
    )
    .into()
}

fn rsa_refused() -> Reason {
    unsupported("such rsa")
}

/// The label of the first block with a key, and what is in it.
fn pem(text: &str) -> Option<(&str, &str)> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, after) = rest.split_once("-----END ")?;
    match label {
        PARAMETERS => pem(after),
        _ => Some((label, body)),
    }
}

/// Source: RFC 5208, 5.
fn pkcs8(bytes: &[u8]) -> Result<Key, Reason> {
    let parts = pkcs8_parts(bytes).ok_or(BROKEN)?;
    let none = String::new();
    match parts.kind {
        EC => sec1(parts.key, parts.curve),
        RSA => {
            let pair = RsaKeyPair::from_pkcs8(bytes).map_err(|_| rsa_refused())?;
            Ok(Key::rsa(pair, none))
        }
        DSA => Err(unsupported("dsa")),
        ED448 => Err(unsupported("ed448")),
        _ => match Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes) {
            Ok(pair) => Ok(Key::ed25519(pair, none)),
            Err(_) => Err(unsupported("such")),
        },
    }
}

/// A key and what it is said to be.
struct Parts<'a> {
    kind: &'a [u8],
    curve: Option<&'a [u8]>,
    key: &'a [u8],
}

fn pkcs8_parts(bytes: &[u8]) -> Option<Parts<'_>> {
    let mut all = Elements::new(Elements::new(bytes).next(der::SEQUENCE)?);
    all.next(der::INTEGER)?;
    let mut kind = Elements::new(all.next(der::SEQUENCE)?);
    Some(Parts {
        kind: kind.next(der::OBJECT)?,
        curve: kind.next(der::OBJECT),
        key: all.next(der::OCTET_STRING)?,
    })
}

/// `curve` is its name where the key's surroundings have it. Source: RFC 5915, 3.
fn sec1(bytes: &[u8], curve: Option<&[u8]>) -> Result<Key, Reason> {
    let key = sec1_key(bytes).ok_or(BROKEN)?;
    let name = curve.or(key.curve).ok_or(BROKEN)?;
    let curve = CURVES.into_iter().find(|curve| curve.object == name);
    let Some(curve) = curve else {
        return Err(unsupported(match name {
            P521 => "ecdsa-sha2-nistp521",
            _ => "ecdsa on such a curve",
        }));
    };
    ecdsa_pair(curve, key.number, key.public.ok_or(HALF)?, String::new())
}

/// A private number, the name of its curve, and the public point.
struct Sec1<'a> {
    number: &'a [u8],
    curve: Option<&'a [u8]>,
    public: Option<&'a [u8]>,
}

fn sec1_key(bytes: &[u8]) -> Option<Sec1<'_>> {
    let mut all = Elements::new(Elements::new(bytes).next(der::SEQUENCE)?);
    all.next(der::INTEGER)?;
    let number = all.next(der::OCTET_STRING)?;
    let curve = all.next(der::numbered(0));
    let curve = curve.and_then(|inner| Elements::new(inner).next(der::OBJECT));
    let public = all.next(der::numbered(1));
    let public = public.and_then(|inner| Elements::new(inner).next(der::BIT_STRING));
    // The first byte says how many bits of the last one do not count: none.
    let public = public.and_then(|bits| bits.strip_prefix(&[0]));
    Some(Sec1 {
        number,
        curve,
        public,
    })
}

fn openssh(bytes: &[u8]) -> Result<Key, Reason> {
    let mut outer = Reader::new(bytes.strip_prefix(MAGIC).ok_or(BROKEN)?);
    if outer.bytes().ok_or(BROKEN)? != b"none" {
        return Err(ENCRYPTED.into());
    }
    let private = private_part(&mut outer).ok_or(BROKEN)?;
    let mut inner = Reader::new(private);
    // Twice the same number: it tells a right passphrase from a wrong one.
    if inner.u32().ok_or(BROKEN)? != inner.u32().ok_or(BROKEN)? {
        return Err(BROKEN.into());
    }
    match inner.bytes().ok_or(BROKEN)? {
        b"ssh-ed25519" => ed25519(&mut inner),
        b"ssh-rsa" => rsa(&mut inner),
        kind if kind.starts_with(b"ecdsa-sha2-") => ecdsa(kind, &mut inner),
        kind => Err(unsupported(&plain(kind))),
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

fn ecdsa(kind: &[u8], inner: &mut Reader<'_>) -> Result<Key, Reason> {
    let name = inner.bytes().ok_or(BROKEN)?;
    let mut curves = CURVES.into_iter();
    let curve = curves
        .find(|curve| curve.name.as_bytes() == name)
        .ok_or_else(|| unsupported(&plain(kind)))?;
    let public = inner.bytes().ok_or(BROKEN)?;
    let number = inner.natural().ok_or(BROKEN)?;
    ecdsa_pair(curve, number, public, comment(inner))
}

/// `number` may lack zeros at its beginning.
fn ecdsa_pair(
    curve: &'static Curve,
    number: &[u8],
    public: &[u8],
    comment: String,
) -> Result<Key, Reason> {
    let missing = curve.size.checked_sub(number.len()).ok_or(BROKEN)?;
    let mut private = vec![0; missing];
    private.extend_from_slice(number);
    let random = SystemRandom::new();
    let pair =
        EcdsaKeyPair::from_private_key_and_public_key(curve.algorithm, &private, public, &random);
    Ok(Key::ecdsa(pair.map_err(|_| BROKEN)?, curve, comment))
}

/// The name of a kind as a message can hold it.
fn plain(kind: &[u8]) -> String {
    let text = String::from_utf8_lossy(kind);
    let shown = |c: &char| c.is_ascii_graphic();
    text.chars().take(64).filter(shown).collect()
}

fn rsa(inner: &mut Reader<'_>) -> Result<Key, Reason> {
    let mut next = || inner.natural().ok_or(Reason::from(BROKEN));
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
    let pair = RsaKeyPair::from_components(&components).map_err(|_| rsa_refused())?;
    Ok(Key::rsa(pair, comment(inner)))
}

fn shorter(number: Option<Vec<u8>>) -> Result<Vec<u8>, Reason> {
    let number = number.ok_or(BROKEN)?;
    Ok(super::wire::without_zeros(&number).to_vec())
}
