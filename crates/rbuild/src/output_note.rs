//! Attributes of outputs that have no effect.

use rbuild_dockerfile::suggest;
use rbuild_exporter::ExportSpec;

/// Attributes that mean something to some output.
const KNOWN: [&str; 22] = [
    "name",
    "dest",
    "tar",
    "push",
    "push-by-digest",
    "registry.insecure",
    "store",
    "unpack",
    "name-canonical",
    "dangling-name-prefix",
    "danging-name-empty-only",
    "oci-mediatypes",
    "compression",
    "compression-level",
    "force-compression",
    "prefer-nondist-layers",
    "rewrite-timestamp",
    "source-date-epoch",
    "annotation",
    "platform-split",
    "mode",
    "type",
];

/// Attributes that BuildKit has and that change nothing here: there are no attestations, one way to write an
/// image, and one engine.
const IDLE: [&str; 7] = [
    "attestation-inline",
    "attestation-prefix",
    "oci-artifact",
    "compatibility-version",
    "context",
    "buildinfo",
    "buildinfo-attrs",
];

/// Says which attributes of an output have no effect, a sentence each, with what may have been meant.
/// BuildKit takes them without a word.
pub fn idle_attributes(spec: &ExportSpec) -> Vec<String> {
    let kind = spec.export.kind();
    let unknown = spec
        .other
        .keys()
        .filter(|key| !IDLE.contains(&key.as_str()));
    unknown
        .map(|key| match suggest::nearest(key, &KNOWN) {
            Some(near) => {
                format!("attribute {key} of output {kind} has no effect; did you mean {near}?")
            }
            None => format!("attribute {key} of output {kind} has no effect"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rbuild_exporter::Export;

    use super::*;

    #[test]
    fn slips_are_told_and_what_buildkit_has_is_not() {
        let notes = |text: &str| idle_attributes(&Export::parse(text).unwrap());
        assert_eq!(
            notes("type=oci,compresion=zstd,oci-artifact=true,zzz=1"),
            [
                "attribute compresion of output oci has no effect; did you mean compression?",
                "attribute zzz of output oci has no effect",
            ]
        );
        assert!(notes("type=local,dest=x,mode=copy,attestation-prefix=a").is_empty());
    }
}
