//! Named contexts: what a name stands for when the command line says so.

use rbuild_oci::{Platform, Reference};

use crate::{LowerRequest, NamedContext};

/// Finds the named context for `name` and `platform`.
///
/// Image names are compared in their familiar form without `:latest`; `NAME::os/arch` goes before
/// `NAME`. The two reserved names cannot be replaced.
pub(crate) fn find<'r>(
    request: &'r LowerRequest,
    name: &str,
    platform: &Platform,
) -> Option<(String, &'r NamedContext)> {
    if request.contexts.is_empty() || name == "scratch" || name == "context" {
        return None;
    }
    let familiar = Reference::parse(name).ok()?.familiar();
    let name = familiar.strip_suffix(":latest").unwrap_or(&familiar);
    let exact = format!("{name}::{platform}");
    let found = request.contexts.get(&exact).map(|context| (exact, context));
    found.or_else(|| {
        let context = request.contexts.get(name)?;
        Some((name.to_owned(), context))
    })
}
