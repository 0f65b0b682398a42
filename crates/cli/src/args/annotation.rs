//! `--annotation`: texts for manifests, indexes and their descriptors.

use rbuild::oci::Platform;
use rbuild::{Annotation, AnnotationPlace};

/// The annotations of one option: one for each document that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotations(pub Vec<Annotation>);

/// Reads `[PLACE[,PLACE…][[PLATFORM]]:]KEY=VALUE`, as buildx does; without a place it is the manifest.
pub fn annotations(text: &str) -> Result<Annotations, String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is no annotation; write KEY=VALUE"))?;
    let (places, platform, key) = match name.split_once(':').filter(|(head, _)| is_places(head)) {
        Some((head, key)) => {
            let (places, platform) = head.strip_suffix(']').map_or((head, None), |head| {
                let (places, platform) = head.split_once('[').unwrap_or((head, ""));
                (places, Some(platform))
            });
            (places, platform, key)
        }
        None => ("manifest", None, name),
    };
    if key.is_empty() {
        return Err(format!("annotation `{text}` has no key"));
    }
    let platform = platform
        .map(|text| Platform::parse(text).map_err(|error| error.to_string()))
        .transpose()?;
    let annotation = |place| {
        Ok(Annotation {
            place: self::place(place)?,
            platform: platform.clone(),
            key: key.to_owned(),
            value: value.to_owned(),
        })
    };
    let all: Result<Vec<_>, String> = places.split(',').map(annotation).collect();
    Ok(Annotations(all?))
}

/// Keys may hold colons too: only lower-case words, perhaps with a platform, are places.
fn is_places(head: &str) -> bool {
    let words = match head.strip_suffix(']') {
        Some(head) => head.split_once('[').map(|(words, _)| words),
        None => Some(head),
    };
    words.is_some_and(|words| {
        !words.is_empty()
            && words
                .chars()
                .all(|c| c.is_ascii_lowercase() || c == '-' || c == ',')
    })
}

fn place(text: &str) -> Result<AnnotationPlace, String> {
    Ok(match text {
        "manifest" => AnnotationPlace::Manifest,
        "manifest-descriptor" => AnnotationPlace::ManifestDescriptor,
        "index" => AnnotationPlace::Index,
        "index-descriptor" => AnnotationPlace::IndexDescriptor,
        other => {
            return Err(format!(
                "annotation place `{other}` is none of manifest, index, manifest-descriptor, \
                 index-descriptor"
            ));
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn places_stand_before_a_colon() {
        let read = |text| annotations(text).unwrap().0;
        let one = read("org.example:key=a:b=c");
        assert_eq!(one.len(), 1);
        assert_eq!(
            (one[0].place, &one[0].key[..], &one[0].value[..]),
            (AnnotationPlace::Manifest, "org.example:key", "a:b=c")
        );
        let two = read("index,manifest[linux/arm64]:k=v");
        assert_eq!(two[0].place, AnnotationPlace::Index);
        assert_eq!(two[1].place, AnnotationPlace::Manifest);
        let arm = Platform::parse("linux/arm64").ok();
        assert!(two.iter().all(|one| one.platform == arm && one.key == "k"));
    }

    #[test]
    fn mistakes_are_named() {
        for text in [
            "k",
            "=v",
            "index:=v",
            "nowhere:k=v",
            "manifest[x/y/z/w]:k=v",
        ] {
            assert!(annotations(text).is_err(), "{text}");
        }
    }
}
