use super::*;

fn read(texts: &[&str]) -> Registries {
    let mut registries = Registries::default();
    for text in texts {
        registries.add(text, Path::new("r.conf")).unwrap();
    }
    registries
}

fn pair(host: &str, path: &str) -> (String, String) {
    (host.to_owned(), path.to_owned())
}

#[test]
fn the_longest_prefix_decides() {
    let registries = read(&[r#"
        [[registry]]
        location = "example.com"
        insecure = true
        [[registry]]
        prefix = "example.com/team"
        location = "other.com:5000/t"
        [[registry]]
        prefix = "*.lan"
        blocked = true
        "#]);
    let at = |name: &str| registries.find(name).map(|found| found.located(name));
    assert_eq!(at("example.com/x"), Some(pair("example.com", "x")));
    assert_eq!(
        at("example.com/team/x"),
        Some(pair("other.com:5000", "t/x"))
    );
    assert_eq!(at("example.com/team"), Some(pair("other.com:5000", "t")));
    assert_eq!(
        at("example.com/teams/x"),
        Some(pair("example.com", "teams/x"))
    );
    assert_eq!(at("example.com:5000/x"), None);
    assert_eq!(at("example.org/x"), None);
    assert!(registries.find("a.b.lan/x").unwrap().blocked);
    assert_eq!(at("lan/x"), None);
    assert_eq!(at("x/a.lan"), None);
    assert_eq!(registries.find("example.com").unwrap().insecure, Some(true));
}

#[test]
fn mirrors_keep_the_rest_of_the_name() {
    let registries = read(&[r#"
        unqualified-search-registries = ["quay.io"]
        [[registry]]
        prefix = "docker.io"
        location = "docker.io"
        [[registry.mirror]]
        location = "cache:5000/hub"
        insecure = true
        [[registry.mirror]]
        location = "tags.example"
        pull-from-mirror = "tag-only"
        "#]);
    let name = "docker.io/library/debian";
    let registry = registries.find(name).unwrap();
    let [first, second] = registry.mirrors.as_slice() else {
        panic!("{registry:?}")
    };
    assert_eq!(
        registry.mirrored(first, name),
        pair("cache:5000", "hub/library/debian")
    );
    assert_eq!(
        (first.insecure, first.tags, first.digests),
        (Some(true), true, true)
    );
    assert_eq!(
        (second.insecure, second.tags, second.digests),
        (None, true, false)
    );
}

#[test]
fn later_files_replace_tables_of_the_same_prefix() {
    let registries = read(&[
        "[[registry]]\nlocation = \"a\"\ninsecure = true\n[[registry]]\nlocation = \"b\"\n",
        "[[registry]]\nlocation = \"a\"\nblocked = true\n",
    ]);
    let found = registries.find("a/x").unwrap();
    assert_eq!((found.insecure, found.blocked), (None, true));
    assert!(registries.find("b/x").is_some());
}

#[test]
fn the_first_format_is_understood() {
    let registries = read(&[r#"
        [registries.search]
        registries = ["docker.io"]
        [registries.insecure]
        registries = ["lan:5000"]
        [registries.block]
        registries = ["bad.example"]
        "#]);
    assert_eq!(registries.find("lan:5000/x").unwrap().insecure, Some(true));
    assert!(registries.find("bad.example/x").unwrap().blocked);
    assert!(registries.find("docker.io/x").is_none());
}

#[test]
fn digests_only_for_all_mirrors_at_once() {
    let registries = read(&[
        "[[registry]]\nlocation = \"a\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"m\"\n",
    ]);
    let mirror = &registries.find("a/x").unwrap().mirrors[0];
    assert!(!mirror.tags && mirror.digests);
}

#[test]
fn mistakes_are_told_with_file_and_place() {
    let check = |text: &str, wanted: &[&str]| {
        let mut registries = Registries::default();
        let error = registries.add(text, Path::new("/etc/r.conf")).unwrap_err();
        let error = error.to_string();
        for wanted in wanted.iter().chain(&["/etc/r.conf"]) {
            assert!(error.contains(wanted), "{error}");
        }
    };
    check("[[registry]]\nlocation = ", &["line 2, column"]);
    check("[[registry]]\ninsecure = 1\n", &["line 2, column 12"]);
    check("[[registry]]\n", &["neither prefix nor location"]);
    check(
        "[[registry]]\nlocation = \"http://a\"\n",
        &["without a scheme"],
    );
    let mirror = "[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\n";
    check(mirror, &["location"]);
    let wrong = format!("{mirror}location = \"m\"\npull-from-mirror = \"some\"\n");
    check(&wrong, &["\"some\"", "digest-only"]);
}
