//! What follows from removing entries, over made-up tables.

use std::time::UNIX_EPOCH;

use super::*;
use crate::collect::inventory::{How, Lead, Memo};
use crate::images::{ImageRow, IndexEntry, IndexRow};

fn id(number: u8) -> LayerId {
    LayerId::from_bytes([number; 16])
}

fn digest(text: &str) -> Digest {
    Digest::sha256_of(text.as_bytes())
}

fn blob(text: &str) -> Object {
    Object::Blob(digest(text))
}

fn layer(object: &str) -> Layer {
    Layer {
        objects: vec![blob(object)],
        created: UNIX_EPOCH,
        pulled: None,
        capped: None,
    }
}

fn record(key: &str, number: u8) -> Lead {
    Lead {
        how: How::Record,
        key: key.to_owned(),
        layer: id(number),
    }
}

fn image(layers: &[u8]) -> Row {
    Row::Image(ImageRow {
        layers: layers.iter().map(|number| id(*number)).collect(),
        sizes: vec![0; layers.len()],
        manifest: None,
    })
}

/// Three steps, the first two in an image.
fn inventory() -> Inventory {
    let mut all = Inventory {
        leads: vec![record("a", 1), record("b", 2), record("c", 3)],
        ..Inventory::default()
    };
    for (number, object) in [(1, "one"), (2, "two"), (3, "three")] {
        all.layers.insert(id(number), layer(object));
    }
    all.images.insert(digest("image"), image(&[1, 2]));
    all
}

fn layers(numbers: &[u8]) -> BTreeSet<EntryKey> {
    numbers.iter().map(|n| EntryKey::Layer(id(*n))).collect()
}

fn rows(plan: &Plan) -> Vec<String> {
    let short = |key: &str| key.get(..2).unwrap_or(key).to_owned();
    let rows = plan.rows.iter();
    rows.map(|(table, key)| format!("{table:?} {}", short(key)))
        .collect()
}

#[test]
fn a_layer_goes_with_all_its_rows() {
    let mut all = inventory();
    all.names.push((Table::Chains, "ch".to_owned(), id(3)));
    let plan = plan(&all, &layers(&[3]), &BTreeSet::new());
    let expected = ["Records c", "Steps c", "Chains ch", "Layers 03", "Uses 03"];
    assert_eq!(rows(&plan), expected);
    assert_eq!(
        plan.kept,
        BTreeSet::from([blob("one"), blob("two"), blob("image")])
    );
}

#[test]
fn what_a_name_leads_to_stays_and_its_steps_are_forgotten() {
    let mut all = inventory();
    all.named.push(digest("image"));
    let plan = plan(&all, &layers(&[1, 2, 3]), &BTreeSet::new());
    assert!(
        plan.kept
            .is_superset(&BTreeSet::from([blob("one"), blob("two"), blob("image")]))
    );
    let rows = rows(&plan);
    assert!(rows.contains(&"Records a".to_owned()), "{rows:?}");
    assert!(
        !rows
            .iter()
            .any(|row| row == "Layers 01" || row.starts_with("Images"))
    );
    assert!(rows.contains(&"Layers 03".to_owned()), "{rows:?}");
}

#[test]
fn an_image_without_a_name_goes_with_any_of_its_layers() {
    let plan = plan(&inventory(), &layers(&[2]), &BTreeSet::new());
    assert!(rows(&plan).iter().any(|row| row.starts_with("Images")));
    assert!(!plan.kept.contains(&blob("image")));
    // The other layer is still that of a step.
    assert!(plan.kept.contains(&blob("one")));
}

#[test]
fn a_layer_in_use_stays_whole_with_its_rows_whatever_leads_to_it() {
    let mut all = inventory();
    let mut making = layer("tar");
    making.objects.push(blob("index"));
    all.layers.insert(id(4), making);
    let leased = BTreeSet::from([blob("index"), blob("three")]);
    let plan = plan(&all, &layers(&[3, 4]), &leased);
    assert!(rows(&plan).is_empty(), "{:?}", rows(&plan));
    assert!(plan.kept.contains(&blob("tar")));
    assert_eq!(plan.spared, layers(&[3, 4]));
}

#[test]
fn what_nothing_leads_to_goes_unasked() {
    let mut all = inventory();
    all.layers.insert(id(5), layer("five"));
    all.leads.push(record("d", 6)); // a row without its layer
    let plan = plan(&all, &BTreeSet::new(), &BTreeSet::new());
    assert_eq!(rows(&plan), ["Records d", "Steps d", "Layers 05"]);
    assert!(!plan.kept.contains(&blob("five")));
}

#[test]
fn layers_without_later_times_stay_with_the_layer_they_are_of() {
    let mut all = inventory();
    all.layers.insert(id(7), layer("seven"));
    if let Some(layer) = all.layers.get_mut(&id(1)) {
        layer.capped = Some(id(7));
    }
    let stays = plan(&all, &BTreeSet::new(), &BTreeSet::new());
    assert!(stays.kept.contains(&blob("seven")));
    let goes = plan(&all, &layers(&[1]), &BTreeSet::new());
    assert!(!goes.kept.contains(&blob("seven")));
}

#[test]
fn what_a_registry_said_is_forgotten_with_the_last_layer() {
    let mut all = Inventory::default();
    for (number, object) in [(1, "one"), (2, "two")] {
        let mut pulled = layer(object);
        pulled.pulled = Some((digest(object), "registry".to_owned()));
        all.layers.insert(id(number), pulled);
    }
    all.memos.push(Memo {
        key: "name".to_owned(),
        documents: [digest("manifest"), digest("config")],
        layers: vec![digest("one"), digest("two")],
    });
    let one = plan(&all, &layers(&[1]), &BTreeSet::new());
    assert_eq!(rows(&one), ["Layers 01", "Uses 01"]);
    assert!(one.kept.contains(&blob("manifest")));
    let both = plan(&all, &layers(&[1, 2]), &BTreeSet::new());
    assert!(rows(&both).contains(&"Remotes na".to_owned()));
    assert!(both.kept.is_empty());
}

#[test]
fn parts_of_a_named_index_and_pushes_stay() {
    let mut all = inventory();
    all.images.insert(
        digest("index"),
        Row::Index(IndexRow {
            images: vec![IndexEntry {
                id: digest("image"),
                platform: rbuild_oci::Platform::host(),
                manifest: Some(digest("manifest")),
            }],
            document: Some(digest("index")),
            others: Vec::new(),
        }),
    );
    all.named.push(digest("index"));
    all.pushes.push((vec![id(3)], vec![digest("sent")]));
    let plan = plan(&all, &layers(&[1, 2, 3]), &BTreeSet::new());
    for kept in ["one", "two", "three", "image", "index", "manifest", "sent"] {
        assert!(plan.kept.contains(&blob(kept)), "{kept}");
    }
}

#[test]
fn an_image_whose_base_alone_is_in_use_goes_with_its_steps() {
    let all = inventory();
    let leased = BTreeSet::from([blob("one")]);
    let plan = plan(&all, &layers(&[1, 2]), &leased);
    assert_eq!(plan.kept, BTreeSet::from([blob("one"), blob("three")]));
    let both = BTreeSet::from([blob("one"), blob("two")]);
    let plan = super::plan(&all, &layers(&[1, 2]), &both);
    assert!(plan.kept.contains(&blob("image")));
}

#[test]
fn downloaded_files_go_unless_they_are_in_use() {
    let mut all = Inventory::default();
    all.files.push(("file-1".to_owned(), digest("f")));
    let victims = BTreeSet::from([EntryKey::File(digest("f"))]);
    let gone = plan(&all, &victims, &BTreeSet::new());
    assert_eq!(rows(&gone), ["Remotes fi", "Uses bl"]);
    assert!(gone.kept.is_empty());
    let used = plan(&all, &victims, &BTreeSet::from([blob("f")]));
    assert!(used.rows.is_empty());
    assert_eq!(used.spared, victims);
}
