//! From the text after `-o` to an [`ExportSpec`], by the rules of BuildKit's clients.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rbuild_layer::Compression;
use rbuild_oci::{Platform, Reference};

use crate::spec::{
    Annotation, AnnotationPlace, Dangling, Dest, Export, ExportSpec, Family, ImageOptions,
    ImageOutput, Keep, NonDistributable, Stale,
};
use crate::{Error, Result};

impl Export {
    /// Reads one `-o` value: `type=KIND,key=value,…`, a directory alone for `local`, or `-` for a tar on
    /// standard output.
    ///
    /// Fields are CSV, so that a value with a comma can be quoted together with its key. Nothing is looked
    /// up; see [`ExportSpec::check`].
    ///
    /// Errors: [`Error::Output`].
    pub fn parse(text: &str) -> Result<ExportSpec> {
        let fields = csv_fields(text)?;
        if let [field] = fields.as_slice()
            && field == text
            && !text.starts_with("type=")
        {
            return Ok(shortcut(text));
        }
        let mut attrs = Attrs::default();
        for field in &fields {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| Error::output(format!("invalid value {field}")))?;
            attrs
                .values
                .insert(key.trim().to_lowercase(), value.to_owned());
        }
        let kind = attrs.take("type").filter(|kind| !kind.is_empty());
        let kind = kind.ok_or_else(|| Error::output("type is required for output"))?;
        let export = export_of(&kind, &mut attrs)?;
        let image = image_options(&mut attrs)?;
        let epoch = attrs
            .take("source-date-epoch")
            .filter(|epoch| !epoch.is_empty());
        let epoch = epoch.map(|epoch| {
            epoch
                .parse()
                .map_err(|_| Error::output(format!("invalid SOURCE_DATE_EPOCH: {epoch}")))
        });
        Ok(ExportSpec {
            export,
            image,
            epoch: epoch.transpose()?,
            other: attrs.values,
        })
    }
}

fn shortcut(text: &str) -> ExportSpec {
    let export = match text {
        "-" => Export::Tar {
            dest: Dest::Stdout,
            split: None,
        },
        dir => Export::Local {
            dest: dir.into(),
            stale: Stale::Keep,
            split: None,
        },
    };
    ExportSpec {
        export,
        image: ImageOptions::default(),
        epoch: None,
        other: BTreeMap::new(),
    }
}

fn export_of(kind: &str, attrs: &mut Attrs) -> Result<Export> {
    Ok(match kind {
        "oci" => match attrs.tar() {
            true => Export::OciArchive { dest: attrs.file() },
            false => Export::OciDir {
                dest: attrs.dir(kind)?,
            },
        },
        "docker" => match attrs.tar() {
            // Without a place it goes into the engine.
            true if attrs.values.get("dest").is_none_or(String::is_empty) => {
                attrs.take("dest");
                Export::DockerArchive { dest: Dest::Engine }
            }
            true => Export::DockerArchive { dest: attrs.file() },
            false => Export::DockerDir {
                dest: attrs.dir(kind)?,
            },
        },
        "local" => Export::Local {
            dest: attrs.dir(kind)?,
            stale: stale(attrs.take("mode").as_deref())?,
            split: attrs.flag("platform-split")?,
        },
        "tar" => Export::Tar {
            dest: attrs.file(),
            split: attrs.flag("platform-split")?,
        },
        "image" => Export::Image(image_output(false, attrs)?),
        "registry" => Export::Image(image_output(true, attrs)?),
        "cacheonly" => Export::CacheOnly,
        other => {
            return Err(Error::output(format!(
                "exporter {other:?} could not be found"
            )));
        }
    })
}

fn image_output(registry: bool, attrs: &mut Attrs) -> Result<ImageOutput> {
    // Names in the store have no digest, and it unpacks what is needed when it is needed.
    for key in ["name-canonical", "unpack"] {
        attrs.flag(key)?;
    }
    let keep = match attrs.flag("store")? {
        Some(false) => Keep::Dropped,
        _ => Keep::Kept,
    };
    let only_alone = attrs.flag("danging-name-empty-only")?.unwrap_or(false);
    let prefix = attrs.take("dangling-name-prefix");
    let prefix = prefix.filter(|prefix| !prefix.is_empty());
    let repository = prefix.map(|prefix| parse_name(&prefix)).transpose()?;
    Ok(ImageOutput {
        keep,
        dangling: repository.map(|repository| Dangling {
            repository,
            only_alone,
        }),
        push: attrs.flag("push")?.unwrap_or(registry),
        push_by_digest: attrs.flag("push-by-digest")?.unwrap_or(false),
        insecure: attrs.flag("registry.insecure")?.unwrap_or(false),
    })
}

fn stale(mode: Option<&str>) -> Result<Stale> {
    match mode {
        None | Some("" | "copy") => Ok(Stale::Keep),
        Some("delete") => Ok(Stale::Delete),
        Some(other) => Err(Error::output(format!(
            "invalid local exporter mode {other:?}: copy or delete"
        ))),
    }
}

fn image_options(attrs: &mut Attrs) -> Result<ImageOptions> {
    let names = match attrs.take("name") {
        Some(names) => parse_names(&names)?,
        None => Vec::new(),
    };
    let level = match attrs.take("compression-level") {
        Some(level) => Some(parse_level(&level)?),
        None => None,
    };
    let media_types = match attrs.flag("oci-mediatypes")? {
        Some(false) => Family::Docker,
        _ => Family::Oci,
    };
    Ok(ImageOptions {
        names,
        compression: compression(attrs.take("compression").as_deref(), level)?,
        rewrite_timestamp: attrs.flag("rewrite-timestamp")?.unwrap_or(false),
        force_compression: attrs.flag("force-compression")?.unwrap_or(false),
        nondistributable: match attrs.flag("prefer-nondist-layers")? {
            Some(true) => NonDistributable::Kept,
            _ => NonDistributable::Plain,
        },
        media_types,
        annotations: attrs.annotations()?,
    })
}

/// Reads image names between commas.
fn parse_names(text: &str) -> Result<Vec<Reference>> {
    let names = text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    names.map(parse_name).collect()
}

fn parse_name(name: &str) -> Result<Reference> {
    Reference::parse(name)
        .map_err(|error| Error::output(format!("failed to parse {name}: {error}")))
}

fn parse_level(text: &str) -> Result<u32> {
    let wrong = || {
        Error::output(format!(
            "non-integer value {text} specified for compression-level"
        ))
    };
    let level: i64 = text.parse().map_err(|_| wrong())?;
    // As with BuildKit, a level out of range means the nearest there is.
    Ok(u32::try_from(level.max(0)).unwrap_or(u32::MAX))
}

fn compression(kind: Option<&str>, level: Option<u32>) -> Result<Option<Compression>> {
    let gzip = |level: Option<u32>| match level {
        None => Compression::GZIP,
        // Level 0 stores without compressing; 1 is the nearest that makes the layer smaller.
        Some(level) => Compression::Gzip {
            level: level.clamp(1, 9),
        },
    };
    match kind {
        None if level.is_none() => Ok(None),
        None | Some("gzip") => Ok(Some(gzip(level))),
        Some("zstd") => Ok(Some(match level {
            None | Some(0) => Compression::ZSTD,
            Some(level) => Compression::Zstd {
                level: level.min(22),
            },
        })),
        Some("uncompressed" | "none") => Ok(Some(Compression::None)),
        Some(other) => Err(Error::output(format!(
            "unsupported layer compression type: {other} (there is gzip, zstd, uncompressed)"
        ))),
    }
}

/// Attributes that nobody has taken yet.
#[derive(Default)]
struct Attrs {
    values: BTreeMap<String, String>,
}

impl Attrs {
    fn take(&mut self, key: &str) -> Option<String> {
        self.values.remove(key)
    }

    /// Takes a truth value; present and empty is true.
    fn flag(&mut self, key: &str) -> Result<Option<bool>> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("") => Ok(Some(true)),
            Some(text) => match parse_bool(text) {
                Some(value) => Ok(Some(value)),
                None => Err(Error::output(format!(
                    "non-bool value {text} specified for {key}"
                ))),
            },
        }
    }

    /// Takes `tar`; what is no truth value means true, as in BuildKit's clients.
    fn tar(&mut self) -> bool {
        self.take("tar")
            .and_then(|text| parse_bool(&text))
            .unwrap_or(true)
    }

    /// Takes the place of a file.
    fn file(&mut self) -> Dest {
        match self.take("dest").as_deref() {
            None | Some("" | "-") => Dest::Stdout,
            Some(path) => Dest::File(path.into()),
        }
    }

    /// Takes the place of a directory.
    fn dir(&mut self, kind: &str) -> Result<PathBuf> {
        match self.take("dest").as_deref() {
            None | Some("") => Err(Error::output(format!(
                "dest is required for {kind} exporter"
            ))),
            Some("-") => Err(Error::output(format!(
                "dest cannot be stdout for {kind} exporter"
            ))),
            Some(path) => Ok(path.into()),
        }
    }

    /// Takes `annotation[-PLACE][[PLATFORM]].KEY`, sorted by that text.
    fn annotations(&mut self) -> Result<Vec<Annotation>> {
        let (ours, rest) = std::mem::take(&mut self.values)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(key, _)| key.starts_with("annotation"));
        self.values = rest;
        ours.into_iter()
            .map(|(key, value)| annotation(&key, value))
            .collect()
    }
}

fn annotation(text: &str, value: String) -> Result<Annotation> {
    let wrong = || Error::output(format!("invalid annotation {text:?}"));
    let rest = text.strip_prefix("annotation").ok_or_else(wrong)?;
    // The platform may hold dots (os versions), so its brackets are looked for first.
    let (place, platform, key) = match rest.split_once('[') {
        Some((place, rest)) if !place.contains('.') => {
            let (platform, key) = rest.split_once("].").ok_or_else(wrong)?;
            let platform = Platform::parse(platform).map_err(|error| {
                Error::output(format!("invalid platform {platform:?}: {error}"))
            })?;
            (place, Some(platform), key)
        }
        _ => {
            let (place, key) = rest.split_once('.').ok_or_else(wrong)?;
            (place, None, key)
        }
    };
    let place = match place {
        "" | "-manifest" => AnnotationPlace::Manifest,
        "-manifest-descriptor" => AnnotationPlace::ManifestDescriptor,
        "-index" => AnnotationPlace::Index,
        "-index-descriptor" => AnnotationPlace::IndexDescriptor,
        _ => {
            return Err(Error::output(format!(
                "unknown annotation type {:?}",
                place.trim_start_matches('-')
            )));
        }
    };
    if key.is_empty() {
        return Err(wrong());
    }
    Ok(Annotation {
        place,
        platform,
        key: key.to_owned(),
        value,
    })
}

/// Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Splits one CSV record (RFC 4180, strict about quotes as Go's reader is).
fn csv_fields(text: &str) -> Result<Vec<String>> {
    let wrong = |what: &str| Error::output(format!("invalid output {text:?}: {what}"));
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted).ok_or_else(|| wrong("a quote is not closed"))?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (field, after) = rest.split_at(end);
                if field.contains('"') {
                    return Err(wrong("a quote may only be around a whole field"));
                }
                (field.to_owned(), after)
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err(wrong("a quote may only be around a whole field")),
        }
    }
}

/// Reads up to the closing quote; returns the field and what follows.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"')?;
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Some((field, after)),
        }
    }
}

#[cfg(test)]
mod tests;
