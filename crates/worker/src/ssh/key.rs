//! One private key: its public half as ssh writes it, and signing.

use ring::rand::SystemRandom;
use ring::rsa::KeyPair as RsaKeyPair;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
};

use super::wire::{put_bytes, put_natural};

// Source: draft-miller-ssh-agent, "Signature flags".
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// A key of an agent.
pub(super) struct Key {
    /// The public half, as clients name the key.
    pub(super) public: Vec<u8>,
    /// The text beside the key in its file.
    pub(super) comment: String,
    signer: Signer,
}

enum Signer {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair, &'static Curve),
    Rsa(Box<RsaKeyPair>),
}

/// A curve that ECDSA keys are on.
pub(super) struct Curve {
    /// Its name in ssh.
    pub(super) name: &'static str,
    /// Its name in DER.
    pub(super) object: &'static [u8],
    /// Bytes of a private number.
    pub(super) size: usize,
    pub(super) algorithm: &'static EcdsaSigningAlgorithm,
}

/// The curves that can be signed on.
pub(super) const CURVES: [&Curve; 2] = [
    &Curve {
        name: "nistp256",
        object: &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        size: 32,
        algorithm: &ECDSA_P256_SHA256_FIXED_SIGNING,
    },
    &Curve {
        name: "nistp384",
        object: &[0x2b, 0x81, 0x04, 0x00, 0x22],
        size: 48,
        algorithm: &ECDSA_P384_SHA384_FIXED_SIGNING,
    },
];

impl Key {
    pub(super) fn ed25519(pair: Ed25519KeyPair, comment: String) -> Self {
        let mut public = Vec::new();
        put_bytes(&mut public, b"ssh-ed25519");
        put_bytes(&mut public, pair.public_key().as_ref());
        Self {
            public,
            comment,
            signer: Signer::Ed25519(pair),
        }
    }

    pub(super) fn ecdsa(pair: EcdsaKeyPair, curve: &'static Curve, comment: String) -> Self {
        let mut public = Vec::new();
        put_bytes(&mut public, format!("ecdsa-sha2-{}", curve.name).as_bytes());
        put_bytes(&mut public, curve.name.as_bytes());
        put_bytes(&mut public, pair.public_key().as_ref());
        Self {
            public,
            comment,
            signer: Signer::Ecdsa(pair, curve),
        }
    }

    pub(super) fn rsa(pair: RsaKeyPair, comment: String) -> Self {
        let numbers: ring::rsa::PublicKeyComponents<Vec<u8>> = pair.public().into();
        let mut public = Vec::new();
        put_bytes(&mut public, b"ssh-rsa");
        put_natural(&mut public, &numbers.e);
        put_natural(&mut public, &numbers.n);
        Self {
            public,
            comment,
            signer: Signer::Rsa(Box::new(pair)),
        }
    }

    /// Signs as an agent does; `None` for what no server should take any more: RSA with SHA-1.
    pub(super) fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        let (name, signature) = match &self.signer {
            Signer::Ed25519(pair) => {
                let signature = pair.sign(data).as_ref().to_vec();
                ("ssh-ed25519".to_owned(), signature)
            }
            Signer::Ecdsa(pair, curve) => {
                let fixed = pair.sign(&random, data).ok()?;
                let (r, s) = fixed.as_ref().split_at_checked(curve.size)?;
                let mut signature = Vec::new();
                put_natural(&mut signature, r);
                put_natural(&mut signature, s);
                (format!("ecdsa-sha2-{}", curve.name), signature)
            }
            Signer::Rsa(pair) => {
                let (name, padding) = match flags {
                    flags if flags & RSA_SHA2_256 != 0 => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
                    flags if flags & RSA_SHA2_512 != 0 => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
                    _ => return None,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, data, &mut signature).ok()?;
                (name.to_owned(), signature)
            }
        };
        let mut blob = Vec::new();
        put_bytes(&mut blob, name.as_bytes());
        put_bytes(&mut blob, &signature);
        Some(blob)
    }
}
