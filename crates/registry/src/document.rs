//! What a manifest document is: an index or a single image, and only one of them.

use rbuild_oci::MediaType;
use rbuild_oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
struct Shape {
    #[serde(default, rename = "mediaType")]
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<IgnoredAny>,
}

/// Decides the media type of a document from its header and its content, which must agree.
///
/// A document that could be read either way would mean different things to different readers under
/// one digest, so it is refused. Errors are reasons for [`crate::Error::NotAnImage`].
/// Source: OCI image-spec, manifest.md and image-index.md, on `mediaType`.
pub(crate) fn media_type(header: Option<&str>, bytes: &[u8]) -> Result<String, String> {
    let shape: Shape = serde_json::from_slice(bytes)
        .map_err(|error| format!("it is not a JSON object: {error}"))?;
    if shape.fs_layers.is_some() {
        return Err("its manifest has the outdated schema 1 format".to_owned());
    }
    let looks = match (
        &shape.manifests,
        shape.config.is_some() || shape.layers.is_some(),
    ) {
        (Some(_), false) => MediaType::Index,
        (None, true) => MediaType::Manifest,
        (Some(_), true) => return Err("it claims to be an index and a manifest at once".to_owned()),
        (None, false) => return Err("it is neither an index nor a manifest".to_owned()),
    };
    let stated = [shape.media_type.as_deref(), header];
    for text in stated.into_iter().flatten() {
        let kind = MediaType::of(text);
        if kind != MediaType::Other && kind != looks {
            return Err(format!("it is called {text} but looks like something else"));
        }
    }
    let own = stated
        .into_iter()
        .flatten()
        .find(|text| MediaType::of(text) == looks);
    let default = if looks.is_index() {
        OCI_INDEX
    } else {
        OCI_MANIFEST
    };
    Ok(own
        .unwrap_or(default)
        .split(';')
        .next()
        .unwrap_or(default)
        .trim()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbuild_oci::media_type::{DOCKER_INDEX, DOCKER_MANIFEST};

    #[test]
    fn header_and_content_must_agree() {
        let check = |header: Option<&str>, body: &str| media_type(header, body.as_bytes());
        assert_eq!(
            check(Some(DOCKER_INDEX), r#"{"manifests":[]}"#).unwrap(),
            DOCKER_INDEX
        );
        assert_eq!(check(None, r#"{"manifests":[]}"#).unwrap(), OCI_INDEX);
        assert_eq!(
            check(Some("text/plain"), r#"{"config":{},"layers":[]}"#).unwrap(),
            OCI_MANIFEST
        );
        let docker = format!(r#"{{"mediaType":"{DOCKER_MANIFEST}","config":{{}}}}"#);
        assert_eq!(
            check(Some("application/json"), &docker).unwrap(),
            DOCKER_MANIFEST
        );
        let parameter = format!("{OCI_INDEX}; charset=utf-8");
        assert_eq!(
            check(Some(&parameter), r#"{"manifests":[]}"#).unwrap(),
            OCI_INDEX
        );
    }

    #[test]
    fn documents_with_two_readings_are_refused() {
        let check = |header: Option<&str>, body: &str, wanted: &str| {
            let error = media_type(header, body.as_bytes()).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        };
        check(
            Some(OCI_INDEX),
            r#"{"config":{}}"#,
            "looks like something else",
        );
        check(
            Some(OCI_INDEX),
            r#"{"manifests":[],"layers":[]}"#,
            "at once",
        );
        let liar = format!(r#"{{"mediaType":"{OCI_MANIFEST}","manifests":[]}}"#);
        check(Some(OCI_INDEX), &liar, "looks like something else");
        check(None, r#"{"schemaVersion":1,"fsLayers":[]}"#, "schema 1");
        check(None, "{}", "neither");
        check(None, "[]", "not a JSON object");
        check(None, "<html>", "not a JSON object");
    }
}
