//! HTTPS: whom we trust.

use std::sync::Arc;

use rbuild_oci::media_type::OCI_INDEX;
use rbuild_oci::{Digest, Reference};
use rbuild_progress::CancelToken;
use rbuild_registry::{
    Client, ClientConfig, DockerFiles, Error, HostConfig, HostFiles, PodmanFiles, Resolved, Scheme,
    WebRequest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::server::{Server, config};

const BODY: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

fn testdata(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/../../testdata/registry/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(path).unwrap()
}

/// Answers every request on a TLS port with the same index.
fn start() -> (tokio::runtime::Runtime, String) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let chain = vec![CertificateDer::from_pem_slice(&testdata("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(&testdata("server.key.pem")).unwrap();
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let host = listener.local_addr().unwrap().to_string();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.unwrap_or(0) > 0 {}
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {OCI_INDEX}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                BODY.len()
            );
            stream.write_all(format!("{head}{BODY}").as_bytes()).await.ok();
            stream.shutdown().await.ok();
        }
    });
    (runtime, host)
}

/// Asks with settings that lie in files of the machine.
fn resolve_with_files(host: &str, files: &[(&str, &[u8])]) -> Result<Resolved, Error> {
    let machine = tempfile::tempdir().unwrap();
    let at = |path: &str| machine.path().join(path);
    for (path, bytes) in files {
        std::fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        std::fs::write(at(path), bytes).unwrap();
    }
    let host_files = HostFiles {
        podman: PodmanFiles {
            registries: vec![at("containers/registries.conf")],
            drop_ins: Vec::new(),
            certificates: vec![at("containers/certs.d")],
        },
        containerd: vec![at("containerd/certs.d")],
        docker: DockerFiles {
            daemon: vec![at("docker/daemon.json")],
            certificates: vec![at("docker/certs.d")],
        },
    };
    let config = ClientConfig {
        host_files,
        ..config()
    };
    let reference = Reference::parse(&format!("{host}/a/b:1")).unwrap();
    Client::new(config).resolve(&reference, &CancelToken::new())
}

#[test]
fn an_authority_is_found_in_the_files_of_each_family() {
    let (_runtime, host) = start();
    let ca = testdata("ca.pem");
    for family in ["containers", "containerd", "docker"] {
        let path = format!("{family}/certs.d/{host}/ca.crt");
        resolve_with_files(&host, &[(&path, &ca)]).unwrap();
    }
    let path = format!("containerd/certs.d/{host}/hosts.toml");
    let text = format!("server = \"https://{host}\"\nca = \"own.pem\"\n");
    let own = format!("containerd/certs.d/{host}/own.pem");
    resolve_with_files(&host, &[(&path, text.as_bytes()), (&own, &ca)]).unwrap();
    // Another host's authority is not this one's.
    let other = "docker/certs.d/127.0.0.2/ca.crt";
    let text = format!("server = \"https://{host}\"\n");
    let error = resolve_with_files(&host, &[(&path, text.as_bytes()), (other, &ca)]);
    assert!(is_refusal(&error.unwrap_err()));
}

#[test]
fn a_proof_is_done_without_only_where_the_files_say_so() {
    let (_runtime, host) = start();
    let podman = format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n");
    let containerd = format!("server = \"https://{host}\"\nskip_verify = true\n");
    let docker = format!(r#"{{"insecure-registries": ["{host}"]}}"#);
    let hosts = format!("containerd/certs.d/{host}/hosts.toml");
    let files: [(&str, &str); 3] = [
        ("containers/registries.conf", &podman),
        (&hosts, &containerd),
        ("docker/daemon.json", &docker),
    ];
    for (path, text) in files {
        resolve_with_files(&host, &[(path, text.as_bytes())]).unwrap();
    }
    // The first that says anything decides.
    let strict = podman.replace("true", "false");
    let both: [(&str, &[u8]); 2] = [
        ("containers/registries.conf", strict.as_bytes()),
        ("docker/daemon.json", docker.as_bytes()),
    ];
    assert!(is_refusal(&resolve_with_files(&host, &both).unwrap_err()));
}

#[test]
fn a_registry_that_may_do_without_tls_is_asked_with_it_first() {
    let server = Server::start();
    server.put_image("a/b", "1", "x");
    let podman = format!(
        "[[registry]]\nlocation = \"{}\"\ninsecure = true\n",
        server.host()
    );
    let files: [(&str, &[u8]); 1] = [("containers/registries.conf", podman.as_bytes())];
    resolve_with_files(&server.host(), &files).unwrap();
    assert_eq!(server.log(), ["GET /v2/a/b/manifests/1"]);
    // What it answers without TLS is final.
    server.state().manifests.clear();
    let error = resolve_with_files(&server.host(), &files).unwrap_err();
    assert!(matches!(error, Error::UnknownManifest { .. }), "{error:?}");
}

fn resolve(host: &str, extra_roots: Vec<Vec<u8>>) -> Result<Resolved, Error> {
    let mut config = ClientConfig {
        extra_roots,
        ..config()
    };
    let https = HostConfig {
        scheme: Scheme::Https,
        mirrors: Vec::new(),
    };
    config.hosts.insert(host.to_owned(), https);
    let reference = Reference::parse(&format!("{host}/a/b:1")).unwrap();
    Client::new(config).resolve(&reference, &CancelToken::new())
}

#[test]
fn an_authority_that_we_were_told_of_is_trusted() {
    let (_runtime, host) = start();
    let found = resolve(&host, vec![testdata("ca.pem")]).unwrap();
    assert_eq!(found.descriptor.digest, Digest::sha256_of(BODY.as_bytes()));
}

/// Without any trust store on the machine the client cannot even be set up, which is as safe.
fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Tls { .. } | Error::Setup { .. })
}

#[test]
fn an_unknown_authority_is_not() {
    let (_runtime, host) = start();
    let error = resolve(&host, Vec::new()).unwrap_err();
    assert!(is_refusal(&error), "{error:?}");
}

#[test]
fn a_server_without_tls_is_not_spoken_to() {
    let server = Server::start();
    let error = resolve(&server.host(), Vec::new()).unwrap_err();
    assert!(is_refusal(&error), "{error:?}");
    assert!(server.log().is_empty());
}

#[test]
fn certificates_that_are_none_are_a_setup_error() {
    let error = resolve(
        "127.0.0.1:1",
        vec![b"-----BEGIN CERTIFICATE-----\nx".to_vec()],
    )
    .unwrap_err();
    assert!(matches!(error, Error::Setup { .. }), "{error:?}");
}

fn download(url: &str, extra_roots: Vec<Vec<u8>>) -> Result<Vec<u8>, Error> {
    let client = Client::new(ClientConfig {
        extra_roots,
        ..config()
    });
    let request = WebRequest {
        url: url.to_owned(),
        ..WebRequest::default()
    };
    let cancel = CancelToken::new();
    let answer = client.ask_web(&request, &cancel)?;
    let mut bytes = Vec::new();
    let mut take = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    client.read_web(answer, &mut take, &cancel).unwrap();
    Ok(bytes)
}

#[test]
fn plain_downloads_trust_the_same_authorities() {
    let (_runtime, host) = start();
    let url = format!("https://{host}/file");
    let bytes = download(&url, vec![testdata("ca.pem")]).unwrap();
    assert_eq!(bytes, BODY.as_bytes());
    let error = download(&url, Vec::new()).unwrap_err();
    assert!(is_refusal(&error), "{error:?}");
}
