//! Places as options name them, and the backends that are opened for them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use rbuild_oci::Reference;
use rbuild_registry::{Client, LazyClient};

use crate::backend::azblob::{self, AzblobEnv, AzblobPlace};
use crate::backend::gha::{self, GhaEnv, GhaPlace};
use crate::backend::s3::{self, S3Env, S3Place};
use crate::backend::{
    Backend, Direction, LocalBackend, LocalPlace, RegistryBackend, RegistryPlace,
};
use crate::remote::ORIGIN;
use crate::{Attrs, Error, Result};

/// Attributes that are nobody else's business: they do not go into the store with the origin of a layer.
const SECRET: [&str; 5] = [
    "access_key_id",
    "secret_access_key",
    "session_token",
    "token",
    "ghtoken",
];

/// Where a cache lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    kind: PlaceKind,
    /// Its attributes as a JSON object, without secrets: enough to open it again.
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PlaceKind {
    Local(LocalPlace),
    Registry(RegistryPlace),
    S3(Box<S3Place>),
    Azblob(Box<AzblobPlace>),
    Gha(Box<GhaPlace>),
    /// The config of the image that is built.
    Inline,
}

/// What the environment says of places; this crate reads none itself.
#[derive(Debug, Clone, Default)]
pub struct PlaceEnv {
    /// Of buckets.
    pub s3: S3Env,
    /// Of containers.
    pub azblob: AzblobEnv,
    /// Of GitHub's service.
    pub gha: GhaEnv,
}

impl Place {
    /// Takes the attributes of a place of this kind. Errors: [`Error::Spec`] for another kind, or an
    /// attribute that is missing or wrong.
    pub fn parse(
        kind: &str,
        attrs: &mut Attrs,
        (direction, env): (Direction, &PlaceEnv),
    ) -> Result<Self> {
        let mut given = attrs.given();
        let parsed = match kind {
            "local" => PlaceKind::Local(LocalPlace::parse(attrs, direction)?),
            "registry" => PlaceKind::Registry(RegistryPlace::parse(attrs, direction)?),
            "s3" => PlaceKind::S3(Box::new(S3Place::parse(attrs, &env.s3)?)),
            "azblob" => PlaceKind::Azblob(Box::new(AzblobPlace::parse(attrs, &env.azblob)?)),
            "gha" => PlaceKind::Gha(Box::new(GhaPlace::parse(attrs, &env.gha)?)),
            "inline" if direction == Direction::To => PlaceKind::Inline,
            "inline" => {
                return Err(Error::Spec(
                    "type=inline is for --cache-to; what it wrote is read with type=registry,ref=IMAGE"
                        .to_owned(),
                ));
            }
            other => {
                return Err(Error::Spec(format!(
                    "type={other} is no cache: registry, local, inline, s3, gha, azblob"
                )));
            }
        };
        if let PlaceKind::Registry(registry) = &parsed {
            // With the scope in its tag, by which alone it differs from another one's.
            given.insert("ref".to_owned(), registry.reference.to_string());
        }
        let left = attrs.given();
        let taken = given
            .into_iter()
            .filter(|(key, _)| !left.contains_key(key) && !SECRET.contains(&key.as_str()));
        let mut all: BTreeMap<String, String> = taken
            .map(|(key, value)| (read_as(&key).to_owned(), value))
            .collect();
        let settled = match &parsed {
            PlaceKind::Local(_) | PlaceKind::Registry(_) | PlaceKind::Inline => Vec::new(),
            PlaceKind::S3(place) => place.settled(),
            PlaceKind::Azblob(place) => place.settled(),
            PlaceKind::Gha(place) => place.settled(),
        };
        all.extend(
            settled
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value)),
        );
        all.insert("type".to_owned(), kind.to_owned());
        let text = serde_json::to_string(&all).map_err(|e| Error::Spec(e.to_string()))?;
        Ok(Self { kind: parsed, text })
    }

    /// Reads [`Place::text`].
    fn reparse(text: &str, env: &PlaceEnv) -> Result<Self> {
        let pairs = serde_json::from_str(text);
        let mut pairs: BTreeMap<String, String> =
            pairs.map_err(|e| Error::Spec(format!("{text:?} is no place of a cache: {e}")))?;
        let kind = pairs.remove("type").unwrap_or_default();
        let mut attrs = Attrs::new(kind.clone(), pairs)?;
        Self::parse(&kind, &mut attrs, (Direction::From, env))
    }

    /// Whether it is the image that is built, which is written with that image and not by itself.
    pub fn is_inline(&self) -> bool {
        self.kind == PlaceKind::Inline
    }

    /// The repository that a layer with this origin lies in, if that is a cache in a registry.
    pub fn repository_of(origin: &str) -> Option<Reference> {
        let text = origin.strip_prefix(ORIGIN)?;
        match Self::reparse(text, &PlaceEnv::default()).ok()?.kind {
            PlaceKind::Registry(place) => Some(place.reference),
            _ => None,
        }
    }

    /// Everything that is needed to open it again but secrets.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// What an attribute is called where a cache is read.
fn read_as(key: &str) -> &str {
    match key {
        "dest" => "src",
        other => other,
    }
}

/// Opens places, each once.
#[derive(Default)]
pub struct Places {
    /// For those in registries.
    client: Option<Arc<LazyClient>>,
    env: PlaceEnv,
    open: Mutex<HashMap<String, Arc<dyn Backend>>>,
}

impl Places {
    /// `client` speaks to registries and other servers; the default has none, and opens directories only.
    pub fn new(client: Arc<LazyClient>, env: PlaceEnv) -> Self {
        Self {
            client: Some(client),
            env,
            ..Self::default()
        }
    }

    /// Opens a place. Does no I/O.
    pub fn open(&self, place: &Place) -> Result<Arc<dyn Backend>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(backend) = open.get(&place.text) {
            return Ok(Arc::clone(backend));
        }
        let backend: Arc<dyn Backend> = match &place.kind {
            PlaceKind::Local(local) => Arc::new(LocalBackend::new(local.clone())),
            PlaceKind::Registry(registry) => {
                let client = Arc::clone(self.client()?);
                Arc::new(RegistryBackend::new(registry.clone(), client))
            }
            PlaceKind::S3(bucket) => s3::open(S3Place::clone(bucket), self.client_of(place)?)?,
            PlaceKind::Azblob(container) => {
                azblob::open(AzblobPlace::clone(container), self.client_of(place)?)?
            }
            PlaceKind::Gha(service) => gha::open(GhaPlace::clone(service), self.client_of(place)?),
            PlaceKind::Inline => {
                return Err(Error::Spec("type=inline is no place of its own".to_owned()));
            }
        };
        open.insert(place.text.clone(), Arc::clone(&backend));
        Ok(backend)
    }

    fn client(&self) -> Result<&Arc<LazyClient>> {
        let client = self.client.as_ref();
        client.ok_or_else(|| Error::Spec("no server can be asked here".to_owned()))
    }

    fn client_of(&self, place: &Place) -> Result<&Client> {
        let client = self.client()?.get();
        client.map_err(|error| Error::place(&place.text, "read credentials for registries", error))
    }

    /// Opens the place that a text of [`Place::text`] names.
    pub fn reopen(&self, text: &str) -> Result<Arc<dyn Backend>> {
        {
            // One that is open has its secrets, which may be in no environment.
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(backend) = open.get(text) {
                return Ok(Arc::clone(backend));
            }
        }
        self.open(&Place::reparse(text, &self.env)?)
    }
}

#[cfg(test)]
mod tests {
    use rbuild_registry::Secret;

    use super::*;

    fn parse(kind: &str, pairs: &[(&str, &str)], direction: Direction) -> Result<Place> {
        let pairs = pairs.iter();
        let pairs = pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Place::parse(
            kind,
            &mut Attrs::new(kind, pairs)?,
            (direction, &PlaceEnv::default()),
        )
    }

    #[test]
    fn a_place_is_found_again_by_its_text() {
        let written = parse("local", &[("dest", "/c"), ("tag", "t")], Direction::To).unwrap();
        assert_eq!(written.text(), r#"{"src":"/c","tag":"t","type":"local"}"#);
        let read = parse("local", &[("src", "/c"), ("tag", "t")], Direction::From).unwrap();
        assert_eq!(
            Place::reparse(written.text(), &PlaceEnv::default()).unwrap(),
            read
        );
        let places = Places::default();
        let one = places.open(&read).unwrap();
        assert!(Arc::ptr_eq(&one, &places.reopen(written.text()).unwrap()));
    }

    #[test]
    fn scopes_of_a_registry_are_places_of_their_own() {
        let parse = |scope| {
            let pairs = [("ref", "h.io/c:t"), ("scope", scope)];
            parse("registry", &pairs, Direction::From).unwrap()
        };
        let (main, other) = (parse("main"), parse("pr-7"));
        assert!(main.text().contains("h.io/c:t.main"), "{}", main.text());
        assert_ne!(main.text(), other.text());
        assert_eq!(
            Place::reparse(main.text(), &PlaceEnv::default()).unwrap(),
            main
        );
        let places = Places::new(
            LazyClient::new(|| Ok(rbuild_registry::ClientConfig::default())),
            PlaceEnv::default(),
        );
        let opened = places.open(&main).unwrap();
        assert_eq!(opened.name(), "registry h.io/c:t.main");
        assert!(Places::default().open(&main).is_err());
        let origin = format!("{ORIGIN}{}", main.text());
        let repository = Place::repository_of(&origin).unwrap();
        assert_eq!(repository.name(), "h.io/c");
        assert_eq!(Place::repository_of("h.io/c"), None);
    }

    #[test]
    fn what_the_environment_says_is_in_the_text_but_for_secrets() {
        let text = |text: &str| Some(text.to_owned());
        let mut env = PlaceEnv::default();
        env.s3.bucket = text("b");
        env.s3.region = text("eu-west-1");
        env.s3.access_key_id = text("AK");
        env.s3.secret_access_key = Some(Secret::new("hunter2"));
        env.azblob.account_url = text("https://team.host");
        env.azblob.key = Some(Secret::new("aHVudGVyMg=="));
        env.gha.results_url = text("https://host/x");
        let place = |kind: &str, given: &[(&str, &str)]| {
            let pairs = given.iter();
            let pairs = pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            let mut attrs = Attrs::new(kind, pairs).unwrap();
            Place::parse(kind, &mut attrs, (Direction::To, &env)).unwrap()
        };
        let s3 = place("s3", &[("name", "n")]);
        assert_eq!(
            s3.text(),
            r#"{"bucket":"b","name":"n","region":"eu-west-1","type":"s3"}"#
        );
        let azblob = place("azblob", &[("secret_access_key", "aHVudGVyMw==")]);
        assert_eq!(
            azblob.text(),
            r#"{"account_name":"team","account_url":"https://team.host","container":"rbuild-cache","prefix":"","type":"azblob"}"#
        );
        let gha = place("gha", &[("scope", "main"), ("token", "hunter3")]);
        assert_eq!(
            gha.text(),
            r#"{"scope":"main","type":"gha","url_v2":"https://host/x/","version":"2"}"#
        );
        let client = || LazyClient::new(|| Ok(rbuild_registry::ClientConfig::default()));
        let places = Places::new(client(), env.clone());
        for place in [&s3, &azblob, &gha] {
            assert!(
                !format!("{place:?}").contains("hunter") && !format!("{place:?}").contains("aHVu")
            );
            let opened = places.open(place).unwrap();
            assert!(Arc::ptr_eq(&opened, &places.reopen(place.text()).unwrap()));
        }
        // In another process: the keys are in the environment, the token was given by hand.
        let next = Places::new(client(), env.clone());
        assert_eq!(next.reopen(s3.text()).unwrap().name(), "s3 b/n");
        let container = next.reopen(azblob.text()).unwrap();
        assert_eq!(container.name(), "azblob team/rbuild-cache/rbuild");
        assert!(next.reopen(gha.text()).is_err());
    }

    #[test]
    fn other_kinds_are_refused() {
        let error = parse("swift", &[], Direction::To).unwrap_err();
        assert!(error.to_string().contains("type=swift is no cache"));
        assert!(parse("local", &[("src", "/c")], Direction::To).is_err());
        let inline = parse("inline", &[], Direction::To).unwrap();
        assert!(inline.is_inline() && Places::default().open(&inline).is_err());
        let error = parse("inline", &[], Direction::From).unwrap_err();
        assert!(
            error.to_string().contains("type=registry,ref=IMAGE"),
            "{error}"
        );
        assert!(Places::default().reopen("nonsense").is_err());
    }
}
