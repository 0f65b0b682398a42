//! Keys as `ssh-keygen` and `openssl` write them; signatures are judged by `ring`'s verifiers.

use std::process::Command;

use ring::signature::{self as ring_signature, UnparsedPublicKey};

use super::*;

/// A key file in a directory, made by OpenSSH.
fn keygen(dir: &Path, name: &str, options: &[&str]) -> PathBuf {
    let path = dir.join(name);
    let mut keygen = Command::new("ssh-keygen");
    keygen
        .args(["-q", "-N", "", "-C", "a comment"])
        .args(options);
    let done = keygen.arg("-f").arg(&path).output();
    let done = done.expect("these tests need ssh-keygen (Debian: openssh-client)");
    assert!(done.status.success(), "{done:?}");
    path
}

/// The public half as its own file has it.
fn public_of(path: &Path) -> Vec<u8> {
    use base64::Engine as _;
    let text = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    let word = text.split(' ').nth(1).unwrap();
    base64::engine::general_purpose::STANDARD
        .decode(word)
        .unwrap()
}

fn keyring(path: &Path) -> Keyring {
    Keyring::read(&[path.to_owned()]).unwrap()
}

/// Asks for a signature over `data`; returns its kind and bytes.
fn signed(keys: &Keyring, public: &[u8], flags: u32, data: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut request = vec![SIGN_REQUEST];
    put_bytes(&mut request, public);
    put_bytes(&mut request, data);
    request.extend_from_slice(&flags.to_be_bytes());
    let answer = keys.answer(&request);
    let (&kind, rest) = answer.split_first().unwrap();
    if kind != SIGN_RESPONSE {
        assert_eq!(answer, [FAILURE]);
        return None;
    }
    let mut blob = Reader::new(Reader::new(rest).bytes().unwrap());
    let name = String::from_utf8(blob.bytes().unwrap().to_vec()).unwrap();
    Some((name, blob.bytes().unwrap().to_vec()))
}

/// r and s as `ring` wants them: of one length, one behind the other.
fn fixed(signature: &[u8], size: usize) -> Vec<u8> {
    let mut numbers = Reader::new(signature);
    let mut all = Vec::new();
    for _ in 0..2 {
        let number = numbers.natural().unwrap();
        all.extend(std::iter::repeat_n(0, size - number.len()));
        all.extend_from_slice(number);
    }
    all
}

#[test]
fn keys_are_listed_with_their_comments() {
    let dir = tempfile::tempdir().unwrap();
    let one = keygen(dir.path(), "one", &["-t", "ed25519"]);
    let two = keygen(dir.path(), "two", &["-t", "ecdsa"]);
    let keys = Keyring::read(&[one.clone(), two.clone()]).unwrap();
    let answer = keys.answer(&[REQUEST_IDENTITIES]);
    assert_eq!(answer.first(), Some(&IDENTITIES_ANSWER));
    let mut list = Reader::new(&answer[1..]);
    assert_eq!(list.u32(), Some(2));
    for path in [one, two] {
        assert_eq!(list.bytes(), Some(public_of(&path).as_slice()));
        assert_eq!(list.bytes(), Some(b"a comment".as_slice()));
    }
    assert_eq!(format!("{keys:?}"), "Keyring(2 keys)");
}

#[test]
fn signatures_of_every_kind_are_right() {
    let dir = tempfile::tempdir().unwrap();
    let data = b"what is signed";
    let path = keygen(dir.path(), "ed", &["-t", "ed25519"]);
    let public = public_of(&path);
    let (name, signature) = signed(&keyring(&path), &public, 0, data).unwrap();
    assert_eq!(name, "ssh-ed25519");
    let point = &public[public.len() - 32..];
    let check = UnparsedPublicKey::new(&ring_signature::ED25519, point);
    check.verify(data, &signature).unwrap();

    for (bits, size) in [("256", 32), ("384", 48)] {
        let path = keygen(dir.path(), bits, &["-t", "ecdsa", "-b", bits]);
        let public = public_of(&path);
        let (name, signature) = signed(&keyring(&path), &public, 0, data).unwrap();
        assert_eq!(name, format!("ecdsa-sha2-nistp{bits}"));
        let point = &public[public.len() - 2 * size - 1..];
        let algorithm: &dyn ring_signature::VerificationAlgorithm = match size {
            32 => &ring_signature::ECDSA_P256_SHA256_FIXED,
            _ => &ring_signature::ECDSA_P384_SHA384_FIXED,
        };
        let check = UnparsedPublicKey::new(algorithm, point);
        check.verify(data, &fixed(&signature, size)).unwrap();
    }
}

#[test]
fn ecdsa_keys_in_other_formats_are_the_same_keys() {
    let dir = tempfile::tempdir().unwrap();
    for (bits, format) in [
        ("256", "PEM"),
        ("384", "PEM"),
        ("256", "PKCS8"),
        ("384", "PKCS8"),
    ] {
        let name = format!("{bits}{format}");
        let options = ["-t", "ecdsa", "-b", bits, "-m", format];
        let path = keygen(dir.path(), &name, &options);
        let text = std::fs::read_to_string(&path).unwrap();
        let label = match format {
            "PEM" => "-----BEGIN EC PRIVATE KEY-----",
            _ => "-----BEGIN PRIVATE KEY-----",
        };
        assert!(text.starts_with(label), "{text}");
        let public = public_of(&path);
        let (kind, _) = signed(&keyring(&path), &public, 0, b"data").expect("it can sign");
        assert_eq!(kind, format!("ecdsa-sha2-nistp{bits}"));
        // As openssl writes it: the curve in a block of its own goes before.
        let before =
            "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        std::fs::write(&path, format!("{before}{text}")).unwrap();
        assert!(signed(&keyring(&path), &public, 0, b"data").is_some());
    }
}

#[test]
fn a_key_without_its_public_half_says_so() {
    use base64::Engine as _;
    // Version 1, a number of 32 bytes, and the name of the curve.
    let mut der = vec![0x30, 49, 0x02, 1, 1, 0x04, 32];
    der.extend([7; 32]);
    der.extend([0xa0, 10, 0x06, 8]);
    der.extend([0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
    let body = base64::engine::general_purpose::STANDARD.encode(&der);
    let text = format!("-----BEGIN EC PRIVATE KEY-----\n{body}\n-----END EC PRIVATE KEY-----\n");
    let refused = file::parse(&text).err().unwrap_or_default();
    assert!(refused.contains("lacks the public half"), "{refused}");
}

#[test]
fn rsa_keys_sign_with_sha2_in_both_formats() {
    let dir = tempfile::tempdir().unwrap();
    let data = b"what is signed";
    let openssh = keygen(dir.path(), "rsa", &["-t", "rsa", "-b", "2048"]);
    let pem = keygen(dir.path(), "pem", &["-t", "rsa", "-b", "2048", "-m", "PEM"]);
    let pkcs8 = keygen(
        dir.path(),
        "p8",
        &["-t", "rsa", "-b", "3072", "-m", "PKCS8"],
    );
    for path in [openssh, pem, pkcs8] {
        let public = public_of(&path);
        let keys = keyring(&path);
        let mut numbers = Reader::new(&public);
        assert_eq!(numbers.bytes(), Some(b"ssh-rsa".as_slice()));
        let (e, n) = (numbers.natural().unwrap(), numbers.natural().unwrap());
        let check = ring_signature::RsaPublicKeyComponents { n, e };
        let (name, signature) = signed(&keys, &public, 2, data).unwrap();
        assert_eq!(name, "rsa-sha2-256");
        let sha256 = &ring_signature::RSA_PKCS1_2048_8192_SHA256;
        check.verify(sha256, data, &signature).unwrap();
        let (name, signature) = signed(&keys, &public, 4, data).unwrap();
        assert_eq!(name, "rsa-sha2-512");
        let sha512 = &ring_signature::RSA_PKCS1_2048_8192_SHA512;
        check.verify(sha512, data, &signature).unwrap();
        // With SHA-1 nothing is signed.
        assert_eq!(signed(&keys, &public, 0, data), None);
    }
}

#[test]
fn nothing_else_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let path = keygen(dir.path(), "key", &["-t", "ed25519"]);
    let keys = keyring(&path);
    // Another key, a request that is cut off, and requests that no step may make.
    assert_eq!(signed(&keys, b"other", 0, b"data"), None);
    for request in [
        &[][..],
        &[SIGN_REQUEST],
        &[SIGN_REQUEST, 0, 0, 0, 9, 1],
        &[17],
        &[19],
        &[27],
    ] {
        assert_eq!(keys.answer(request), [FAILURE]);
    }
}

#[test]
fn files_that_are_no_use_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let locked = keygen(dir.path(), "locked", &["-t", "ed25519", "-N", "phrase"]);
    let locked_pem = keygen(
        dir.path(),
        "lp",
        &["-t", "rsa", "-m", "PEM", "-N", "phrase"],
    );
    let large = keygen(dir.path(), "p521", &["-t", "ecdsa", "-b", "521"]);
    let large_sec1 = keygen(
        dir.path(),
        "p521s",
        &["-t", "ecdsa", "-b", "521", "-m", "PEM"],
    );
    let large_pkcs8 = keygen(
        dir.path(),
        "p521p",
        &["-t", "ecdsa", "-b", "521", "-m", "PKCS8"],
    );
    let small = keygen(dir.path(), "rsa", &["-t", "rsa", "-b", "1024"]);
    let text = std::fs::read_to_string(keygen(dir.path(), "cut", &["-t", "ed25519"])).unwrap();
    let broken = dir.path().join("broken");
    let middle = text.len() / 2;
    std::fs::write(&broken, [&text[..middle - 8], &text[middle..]].concat()).unwrap();
    let public = locked.with_extension("pub");
    let missing = dir.path().join("missing");
    let refused = |paths: &[&Path]| {
        let paths: Vec<PathBuf> = paths.iter().map(|path| (*path).to_owned()).collect();
        SshAgent::at(&paths).unwrap_err().to_string()
    };
    for (path, reason) in [
        (&locked, "the key has a passphrase"),
        (&locked_pem, "the key has a passphrase"),
        (
            &large,
            "ecdsa-sha2-nistp521 keys are not supported here: add it to an agent (ssh-add)",
        ),
        (
            &large_sec1,
            "ecdsa-sha2-nistp521 keys are not supported here",
        ),
        (
            &large_pkcs8,
            "ecdsa-sha2-nistp521 keys are not supported here",
        ),
        (&small, "such rsa keys are not supported here"),
        (&broken, "the key is damaged"),
        (&public, "no private key"),
        (&missing, "No such file or directory"),
        (&dir.path().to_owned(), "neither a socket nor a file"),
    ] {
        let text = refused(&[path]);
        assert!(
            text.contains(reason) && text.contains(&path.display().to_string()),
            "{text}"
        );
    }
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(matches!(
        SshAgent::at(std::slice::from_ref(&socket)),
        Ok(SshAgent::Socket(_))
    ));
    assert!(refused(&[&socket, &locked]).contains("a socket stands alone"));
}
