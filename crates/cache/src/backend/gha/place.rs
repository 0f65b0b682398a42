//! What `type=gha` says: which service, whose cache in it, and how to get there.

use std::fmt;
use std::time::Duration;

use rbuild_registry::Secret;
use reqwest::Url;

use crate::backend::address::address;
use crate::backend::duration::duration;
use crate::option::{SCOPE_WANTED, is_scope};
use crate::{Attrs, Error, Result};

/// How long one operation may take, unless the attributes say otherwise.
const TIMEOUT: Duration = Duration::from_secs(10 * 60);
const SCOPE: &str = "rbuild";
const API: &str = "https://api.github.com/";

/// What the environment of the command line says; this crate reads none itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GhaEnv {
    /// `ACTIONS_CACHE_URL`, of the first version of the protocol.
    pub cache_url: Option<String>,
    /// `ACTIONS_RESULTS_URL`, of the second.
    pub results_url: Option<String>,
    /// `ACTIONS_RUNTIME_TOKEN`.
    pub token: Option<Secret>,
    /// `ACTIONS_CACHE_SERVICE_V2`: whether the second version is to be used.
    pub service_v2: Option<String>,
    /// `GITHUB_REPOSITORY`.
    pub repository: Option<String>,
    /// `GITHUB_API_URL`.
    pub api_url: Option<String>,
}

/// Versions of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// A cache of GitHub Actions.
#[derive(Clone, PartialEq, Eq)]
pub struct GhaPlace {
    pub(super) version: Version,
    /// Ends with a slash.
    pub(super) url: Url,
    pub(super) token: Secret,
    pub(super) scope: String,
    pub(super) timeout: Duration,
    /// Lists and deletes.
    pub(super) api: Option<Api>,
}

/// How entries are listed and deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Api {
    /// Ends with a slash.
    pub(super) url: Url,
    /// `OWNER/NAME`.
    pub(super) repository: String,
    pub(super) token: Secret,
}

impl fmt::Debug for GhaPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GhaPlace")
            .field("version", &self.version)
            .field("host", &self.url.host_str())
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl GhaPlace {
    /// Takes the attributes of `type=gha`: those of BuildKit, with the same meaning.
    ///
    /// What is not given comes from `env`. `scope=` is looked at and left for others, who know scopes, too.
    /// Errors: [`Error::Spec`], which never holds a token.
    pub fn parse(attrs: &mut Attrs, env: &GhaEnv) -> Result<Self> {
        let url_v1 = attrs.take("url");
        let url_v2 = attrs.take("url_v2");
        let known = |text: &str| match text {
            "1" => Some(Version::V1),
            "2" => Some(Version::V2),
            _ => None,
        };
        let version = attrs.parsed("version", "1 or 2", known)?;
        let version = version.unwrap_or_else(|| default_version(&url_v1, &url_v2, env));
        let url = match version {
            Version::V1 => url_v1.or_else(|| full(&env.cache_url)),
            Version::V2 => url_v2.or(url_v1).or_else(|| full(&env.results_url)),
        };
        let url = url.ok_or_else(|| spec(missing_url(version)))?;
        let token = attrs.take("token").map(Secret::new);
        let token = token.or_else(|| env.token.clone().filter(|token| !token.is_empty()));
        Ok(Self {
            version,
            url: checked_url(url_key(version), &url)?,
            token: token.ok_or_else(|| {
                spec("type=gha needs token= (or ACTIONS_RUNTIME_TOKEN, which a step of a workflow must hand on)")
            })?,
            scope: scope(attrs)?,
            timeout: attrs
                .parsed("timeout", "a time like 10m or 90s", duration)?
                .unwrap_or(TIMEOUT),
            api: api(attrs, env)?,
        })
    }

    /// What people call it, without tokens.
    pub fn name(&self) -> String {
        format!(
            "gha {}/{}",
            self.url.host_str().unwrap_or_default(),
            self.scope
        )
    }

    /// What may come from the environment, or is left to others, and tells this place from others, as
    /// attributes; no tokens.
    pub(crate) fn settled(&self) -> Vec<(&'static str, String)> {
        let version = match self.version {
            Version::V1 => "1",
            Version::V2 => "2",
        };
        vec![
            ("version", version.to_owned()),
            (url_key(self.version), self.url.to_string()),
            ("scope", self.scope.clone()),
        ]
    }

    pub(super) fn has_api(&self) -> bool {
        self.api.is_some()
    }
}

fn spec(text: impl Into<String>) -> Error {
    Error::Spec(text.into())
}

fn full(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}

/// The second one where anything asks for it; GitHub itself has no other any more.
fn default_version(url_v1: &Option<String>, url_v2: &Option<String>, env: &GhaEnv) -> Version {
    let wants_v2 = env
        .service_v2
        .as_deref()
        .is_some_and(|text| matches!(text.to_ascii_lowercase().as_str(), "1" | "t" | "true"));
    let has_v1 = url_v1.is_some() || full(&env.cache_url).is_some();
    match url_v2.is_some() || wants_v2 || !has_v1 {
        true => Version::V2,
        false => Version::V1,
    }
}

fn url_key(version: Version) -> &'static str {
    match version {
        Version::V1 => "url",
        Version::V2 => "url_v2",
    }
}

fn missing_url(version: Version) -> &'static str {
    match version {
        Version::V1 => "type=gha,version=1 needs url= (or ACTIONS_CACHE_URL)",
        Version::V2 => {
            "type=gha needs url_v2= (or ACTIONS_RESULTS_URL, which a step of a workflow must hand on)"
        }
    }
}

fn checked_url(key: &str, text: &str) -> Result<Url> {
    let mut text = text.to_owned();
    if !text.ends_with('/') {
        text.push('/');
    }
    address(key, &text)
}

fn scope(attrs: &Attrs) -> Result<String> {
    let given = attrs.given().remove("scope");
    let scope = given.filter(|scope| !scope.is_empty());
    let scope = scope.unwrap_or_else(|| SCOPE.to_owned());
    // Neither a comma, which separates keys, nor more than fits into a key of 512 characters.
    match is_scope(&scope) {
        true => Ok(scope),
        false => Err(spec(format!("scope={scope}: it must be {SCOPE_WANTED}"))),
    }
}

fn api(attrs: &mut Attrs, env: &GhaEnv) -> Result<Option<Api>> {
    let repository = attrs.take("repository");
    let Some(token) = attrs.take("ghtoken").map(Secret::new) else {
        return Ok(None);
    };
    let repository = repository.or_else(|| full(&env.repository));
    let repository = repository
        .ok_or_else(|| spec("ghtoken= needs repository=OWNER/NAME (or GITHUB_REPOSITORY)"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_part =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.chars().all(plain);
    let parts: Vec<&str> = repository.split('/').collect();
    if parts.len() != 2 || !parts.into_iter().all(is_part) {
        return Err(spec(format!(
            "repository={repository}: it must be OWNER/NAME"
        )));
    }
    let url = full(&env.api_url).unwrap_or_else(|| API.to_owned());
    Ok(Some(Api {
        url: checked_url("GITHUB_API_URL", &url)?,
        repository,
        token,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> GhaEnv {
        GhaEnv {
            results_url: Some("https://results.example".to_owned()),
            token: Some(Secret::new("env-secret")),
            service_v2: Some("True".to_owned()),
            ..GhaEnv::default()
        }
    }

    fn parse(words: &str, env: &GhaEnv) -> Result<GhaPlace> {
        let pairs = words.split_whitespace().map(|word| {
            let (key, value) = word.split_once('=').unwrap();
            (key.to_owned(), value.to_owned())
        });
        let mut attrs = Attrs::new("gha", pairs)?;
        let place = GhaPlace::parse(&mut attrs, env)?;
        attrs.take("scope");
        attrs.finish()?;
        Ok(place)
    }

    #[test]
    fn the_version_follows_from_what_is_given() {
        let place = |words: &str, env: &GhaEnv| {
            let place = parse(words, env).unwrap();
            (place.version, place.url.to_string())
        };
        let results = "https://results.example/".to_owned();
        assert_eq!(place("", &env()), (Version::V2, results.clone()));
        let mut both = env();
        both.cache_url = Some("http://runner.lan:1/abc".to_owned());
        assert_eq!(place("", &both), (Version::V2, results));
        both.service_v2 = None;
        let first = "http://runner.lan:1/abc/".to_owned();
        assert_eq!(place("", &both), (Version::V1, first.clone()));
        assert_eq!(place("version=1", &both), (Version::V1, first));
        let given = place("url_v2=https://other/ version=2", &both);
        assert_eq!(given, (Version::V2, "https://other/".to_owned()));
        let given = place("url=https://other/ token=x", &GhaEnv::default());
        assert_eq!(given, (Version::V1, "https://other/".to_owned()));
    }

    #[test]
    fn the_rest_is_as_given() {
        let words = "token=t scope=main timeout=90s ghtoken=g repository=me/it";
        let place = parse(words, &env()).unwrap();
        assert_eq!(place.name(), "gha results.example/main");
        assert_eq!(place.timeout, Duration::from_secs(90));
        assert_eq!(place.token.expose(), "t");
        assert_eq!(place.api.unwrap().url.as_str(), API);
        let place = parse("", &env()).unwrap();
        assert_eq!((place.scope.as_str(), place.timeout), (SCOPE, TIMEOUT));
        assert!(!place.has_api());
    }

    #[test]
    fn what_cannot_be_meant_is_an_error_that_says_so() {
        let check = |words: &str, env: &GhaEnv, wanted: &str| {
            let error = parse(words, env).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
        };
        let none = GhaEnv::default();
        check(
            "token=t",
            &none,
            "type=gha needs url_v2= (or ACTIONS_RESULTS_URL",
        );
        check("token=t version=1", &none, "type=gha,version=1 needs url=");
        check(
            "url=https://x",
            &none,
            "type=gha needs token= (or ACTIONS_RUNTIME_TOKEN",
        );
        check("version=3", &env(), "version=3: it must be 1 or 2");
        check(
            "url_v2=https://u:hunter2@x",
            &env(),
            "url_v2: it must be an http: or",
        );
        check("scope=a,b", &env(), "scope=a,b: it must be");
        check("ghtoken=g", &env(), "ghtoken= needs repository=");
        check(
            "ghtoken=g repository=x",
            &env(),
            "repository=x: it must be OWNER/NAME",
        );
        check(
            "ghtoken=g repository=../x",
            &env(),
            "repository=../x: it must be OWNER/NAME",
        );
    }

    #[test]
    fn no_token_is_shown() {
        let place = parse("token=hunter2 ghtoken=hunter3 repository=a/b", &env()).unwrap();
        let shown = format!("{place:?} {:?} {:?} {}", place.api, env(), place.name());
        assert!(
            !shown.contains("hunter") && !shown.contains("secret"),
            "{shown}"
        );
    }
}
