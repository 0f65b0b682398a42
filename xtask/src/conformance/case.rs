//! One build case: what its description says, and the command line that builds it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell;

/// A case, read from `case.json` and `expect.json` of its folder.
pub struct Case {
    /// The folder's name.
    pub name: String,
    /// The private copy of the folder.
    pub dir: PathBuf,
    /// The description.
    pub case: Value,
    /// The recorded result.
    pub expect: Value,
}

impl Case {
    /// Reads the case in `dir`.
    pub fn read(dir: &Path) -> Result<Self> {
        let json = |name: &str| -> Result<Value> {
            let path = dir.join(name);
            serde_json::from_str(&shell::read(&path)?)
                .with_context(|| format!("read {}", path.display()))
        };
        Ok(Self {
            name: dir
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            dir: dir.to_path_buf(),
            case: json("case.json")?,
            expect: json("expect.json")?,
        })
    }

    /// Returns the roles of the base images the case stands on: `busybox`, `alpine`, `debian`.
    pub fn roles(&self) -> Vec<&str> {
        let bases = pairs(&self.case["bases"]).map(|(_, role)| role);
        let contexts = self.case["contexts"].as_object().into_iter().flatten();
        let named = contexts.filter_map(|(_, context)| context["base"].as_str());
        let mut roles: Vec<&str> = bases.chain(named).collect();
        roles.sort_unstable();
        roles.dedup();
        roles
    }

    /// Returns the error BuildKit gave, for cases that must fail.
    pub fn error(&self) -> Option<&str> {
        self.expect["error"].as_str()
    }

    /// Returns kinds of difference that two runs of BuildKit already showed.
    pub fn unstable(&self) -> Vec<&str> {
        let kinds = self.expect["unstable"].as_array().into_iter().flatten();
        kinds.filter_map(Value::as_str).collect()
    }

    /// Returns the command that builds the case into the OCI archive `image`.
    ///
    /// `bases` holds a layout for each role; `store` is the root of the store to use.
    pub fn command(&self, binary: &Path, bases: &Path, store: &Path, image: &Path) -> Command {
        let mut build = Command::new(binary);
        build.current_dir(&self.dir);
        build
            .args(["build", "--progress", "plain", "--root"])
            .arg(store);
        build.arg("-f").arg(self.dir.join("Dockerfile"));
        build
            .arg("-o")
            .arg(format!("type=oci,dest={}", image.display()));
        for (name, value) in pairs(&self.case["labels"]) {
            build.arg("--label").arg(format!("{name}={value}"));
        }
        if let Some(target) = self.case["target"]
            .as_str()
            .filter(|target| !target.is_empty())
        {
            build.arg("--target").arg(target);
        }
        for (name, value) in pairs(&self.case["opts"]) {
            match name {
                // The one frontend option that has no flag of its own on the command line.
                "hostname" => build
                    .arg("--build-arg")
                    .arg(format!("BUILDKIT_SANDBOX_HOSTNAME={value}")),
                _ => build.arg(format!("--{name}")).arg(value),
            };
        }
        // After the options: a build argument is stronger than the option that means the same.
        for (name, value) in pairs(&self.case["args"]) {
            build.arg("--build-arg").arg(format!("{name}={value}"));
        }
        for (id, file) in pairs(&self.case["secrets"]) {
            let file = self.dir.join(file);
            build
                .arg("--secret")
                .arg(format!("id={id},src={}", file.display()));
        }
        self.add_contexts(&mut build, bases);
        build.arg(self.dir.join("context"));
        build
    }

    fn add_contexts(&self, build: &mut Command, bases: &Path) {
        let layout = |role: &str| format!("oci-layout://{}", bases.join(role).display());
        for (reference, role) in pairs(&self.case["bases"]) {
            if self.case["contexts"].get(reference).is_none() {
                build
                    .arg("--build-context")
                    .arg(format!("{reference}={}", layout(role)));
            }
        }
        for (name, context) in self.case["contexts"].as_object().into_iter().flatten() {
            let source = match (context["base"].as_str(), context["local"].as_str()) {
                (Some(role), _) => layout(role),
                (None, local) => self
                    .dir
                    .join(local.unwrap_or_default())
                    .display()
                    .to_string(),
            };
            build.arg("--build-context").arg(format!("{name}={source}"));
        }
    }
}

fn pairs(value: &Value) -> impl Iterator<Item = (&str, &str)> {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

/// Returns the part of BuildKit's error that any builder with the same rules would print.
///
/// Left out: the steps of its own solver, names of temporary mounts, and the prefix that only its client adds.
pub fn stable_fragment(error: &str) -> &str {
    let rest = error
        .split_once("failed to calculate checksum of ref REF: ")
        .map_or(error, |(_, rest)| rest);
    let rest = rest.split_once("MOUNT").map_or(rest, |(before, _)| before);
    rest.trim_end_matches([' ', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_leave_out_what_changes_from_run_to_run() {
        let cases = [
            (
                "failed to compute cache key: failed to calculate checksum of ref REF: \"/foo\": not found",
                "\"/foo\": not found",
            ),
            (
                "cannot copy to non-directory: MOUNT/tree/maybe-directory",
                "cannot copy to non-directory",
            ),
            (
                "dockerfile parse error on line 3: unknown flag: --foo",
                "dockerfile parse error on line 3: unknown flag: --foo",
            ),
        ];
        for (error, fragment) in cases {
            assert_eq!(stable_fragment(error), fragment);
        }
    }
}
