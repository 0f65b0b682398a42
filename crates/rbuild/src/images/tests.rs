use rbuild_oci::{Address, ImageConfig};
use rbuild_progress::NullSink;

use super::*;
use crate::{BuildRequest, ContextInput, DockerfileInput, Engine, EngineConfig};

fn platform(text: &str) -> Platform {
    Platform::parse(text).unwrap()
}

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

/// Builds for some platforms under a name; returns the id.
fn build(engine: &Engine, dockerfile: &str, platforms: &[&str], tag: &str) -> Digest {
    let mut request = BuildRequest::new(ContextInput::Empty);
    request.dockerfile = DockerfileInput::Text(dockerfile.into());
    request.platforms = platforms.iter().map(|text| platform(text)).collect();
    request.tags = vec![name(tag)];
    let built = engine.build(&request, &NullSink, &CancelToken::new());
    built.unwrap().image_id.unwrap()
}

fn with_engine(test: impl FnOnce(&Engine)) {
    let dir = tempfile::tempdir().unwrap();
    test(&Engine::open(EngineConfig::new(dir.path().to_owned())).unwrap());
}

const TWO: &str = "FROM scratch\nCOPY <<f /f\nx\nf\nARG TARGETARCH\nLABEL arch=$TARGETARCH\n";

#[test]
fn a_name_stands_for_all_platforms() {
    with_engine(|engine| {
        let id = build(engine, TWO, &["linux/s390x", "linux/arm64"], "two:1");
        let all = engine.images().unwrap();
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0].id, id);
        assert_eq!(all[0].names, [name("two:1")]);
        let shown: Vec<String> = all[0].platforms.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["linux/s390x", "linux/arm64"]);
        // Both have the one layer.
        assert_eq!(all[0].size_bytes, 2);
        let label = |what: &str, text: &str| {
            let image = engine.image(what, Some(&platform(text))).unwrap();
            image.config.config.labels["arch"].clone()
        };
        assert_eq!(label("two:1", "linux/arm64"), "arm64");
        assert_eq!(label(&id.hex()[..12], "linux/s390x"), "s390x");
        let missing = engine
            .image("two:1", Some(&platform("linux/386")))
            .unwrap_err();
        assert_eq!(
            missing.to_string(),
            "two:1 has no image for linux/386; there is linux/s390x, linux/arm64"
        );
        // Equal input, equal id.
        assert_eq!(
            build(engine, TWO, &["linux/s390x", "linux/arm64"], "again"),
            id
        );
        assert_eq!(engine.images().unwrap().len(), 1);
    });
}

#[test]
fn parts_go_with_their_last_owner() {
    with_engine(|engine| {
        let careful = |what: &str| engine.remove_image(what, crate::Removal::Careful);
        let both = build(engine, TWO, &["linux/s390x", "linux/arm64"], "two");
        let arm = engine.image("two", Some(&platform("linux/arm64"))).unwrap();
        let arm = arm.summary.id;
        build(engine, TWO, &["linux/arm64", "linux/386"], "other");
        let refused = careful(arm.as_str()).unwrap_err().to_string();
        assert!(
            refused.ends_with("is part of an image of several platforms"),
            "{refused}"
        );
        let tag = |id: &Digest, text: &str| {
            let address = Address::Name(id.to_string());
            let cancel = CancelToken::new();
            engine
                .tag((&address, &[]), &name(text), &NullSink, &cancel)
                .unwrap();
        };
        tag(&both, "two:more");
        assert!(careful("two").unwrap().deleted.is_empty());
        // s390x goes; arm64 is part of the other.
        let removed = careful("two:more").unwrap();
        assert_eq!(removed.deleted.len(), 2, "{removed:?}");
        assert!(removed.deleted.contains(&both) && !removed.deleted.contains(&arm));
        tag(&arm, "alone");
        assert_eq!(careful("other").unwrap().deleted.len(), 2);
        assert_eq!(engine.images().unwrap().len(), 1);
        assert_eq!(careful("alone").unwrap().deleted, [arm]);
        assert!(engine.images().unwrap().is_empty());
    });
}

#[test]
fn rows_of_old_are_read() {
    with_engine(|engine| {
        let table = engine.image_table();
        let config = ImageConfig::new(&platform("linux/arm64")).to_bytes();
        let id = engine.store().put_blob(&config).unwrap();
        let row = br#"{"layers":[],"sizes":[]}"#;
        engine.store().put(Table::Images, id.as_str(), row).unwrap();
        table.tag(&id, &name("old")).unwrap();
        let stored = engine.stored("old").unwrap();
        assert!(!stored.is_index());
        assert_eq!(stored.summary.id, id);
        assert_eq!(
            engine.image("old", None).unwrap().platform,
            platform("linux/arm64")
        );
    });
}

#[test]
fn digests_of_documents_are_found_like_ids() {
    with_engine(|engine| {
        let table = engine.image_table();
        let config = ImageConfig::new(&platform("linux/arm64")).to_bytes();
        let manifest = Digest::sha256_of(b"manifest");
        let row = ImageRow {
            layers: Vec::new(),
            sizes: Vec::new(),
            manifest: Some(manifest.clone()),
        };
        let id = table.put(&config, row, &[name("app:1")]).unwrap();
        for what in [
            manifest.to_string(),
            manifest.hex()[..12].to_owned(),
            format!("app@{manifest}"),
            id.hex()[..8].to_owned(),
        ] {
            assert_eq!(engine.stored(&what).unwrap().summary.id, id, "{what}");
        }
        // A digest goes before the tag.
        let other = Digest::sha256_of(b"other");
        assert!(engine.stored(&format!("app:1@{other}")).is_err());
    });
}
