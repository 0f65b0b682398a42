use super::*;

fn parse(text: &str) -> HostsFile {
    HostsFile::parse(text, Path::new("/c/docker.io/hosts.toml")).unwrap()
}

fn url(host: &Host) -> String {
    let address = &host.address;
    let scheme = if address.secure { "https" } else { "http" };
    format!("{scheme}://{}{}", address.host, address.path)
}

#[test]
fn hosts_keep_their_order_and_paths() {
    let found = parse(
        r#"
        server = "https://registry-1.docker.io"
        [host."https://z.example"]
        capabilities = ["pull", "resolve"]
        [host."http://a.example:5000/proxy"]
        capabilities = ["pull"]
        [host."https://b.example/v2/hub"]
        override_path = true
        capabilities = ["push"]
        [host."c.example"]
        "#,
    );
    assert_eq!(
        url(&found.server.unwrap()),
        "https://registry-1.docker.io/v2"
    );
    let hosts: Vec<_> = found.hosts.iter().map(url).collect();
    assert_eq!(
        hosts,
        [
            "https://z.example/v2",
            "http://a.example:5000/proxy/v2",
            "https://b.example/v2/hub",
            "https://c.example/v2",
        ]
    );
    let serves: Vec<_> = found
        .hosts
        .iter()
        .map(|host| (host.settings.serves.tags, host.settings.serves.digests))
        .collect();
    assert_eq!(
        serves,
        [(true, true), (false, true), (false, false), (true, true)]
    );
}

#[test]
fn files_are_relative_to_the_folder() {
    let found = parse(
        r#"
        ca = "ca.crt"
        skip_verify = true
        [host."https://m.example"]
        ca = ["one.crt", "/abs/two.crt"]
        client = [["c.cert", "c.key"], ["both.pem"]]
        [host."https://n.example"]
        client = "both.pem"
        [host."https://n.example".header]
        x-plain = "v"
        authorization = ["Bearer hunter2"]
        "#,
    );
    assert_eq!(found.own.roots, [Path::new("/c/docker.io/ca.crt")]);
    assert_eq!(found.own.skip_verify, Some(true));
    let [m, n] = found.hosts.as_slice() else {
        panic!("{found:?}")
    };
    let roots = [Path::new("/c/docker.io/one.crt"), Path::new("/abs/two.crt")];
    assert_eq!(m.settings.roots, roots);
    let pair = (
        PathBuf::from("/c/docker.io/c.cert"),
        Some(PathBuf::from("/c/docker.io/c.key")),
    );
    let both = (PathBuf::from("/c/docker.io/both.pem"), None);
    assert_eq!(m.settings.clients, [pair, both.clone()]);
    assert_eq!(n.settings.clients, [both]);
    assert_eq!(n.settings.headers["x-plain"], "v");
    assert!(!format!("{found:?}").contains("hunter2"));
}

#[test]
fn mistakes_are_told_with_file_and_place() {
    let check = |text: &str, wanted: &str| {
        let file = Path::new("/c/x/hosts.toml");
        let error = HostsFile::parse(text, file).unwrap_err().to_string();
        assert!(error.contains("/c/x/hosts.toml"), "{error}");
        assert!(error.contains(wanted), "{error}");
    };
    check("server = \"https://x\n", "line 1, column");
    check("server = \"ftp://x\"\n", "only http and https");
    check(
        "[host.\"https://x\"]\ncapabilities = [\"fly\"]\n",
        "\"fly\"",
    );
    check(
        "[host.\"https://x\"]\nclient = [[\"a\", \"b\", \"c\"]]\n",
        "client",
    );
    check(
        "[host.\"https://x\".header]\n\"a b\" = \"c\"\n",
        "no name of a header",
    );
    check("[host.\"https://x\"]\nskip_verify = \"yes\"\n", "boolean");
}
