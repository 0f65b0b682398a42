//! The `WWW-Authenticate` header.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// What a registry wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token from this service.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    /// The challenge to answer: the first bearer one, or else a basic one.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let lines = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|line| line.to_str().ok());
        let all: Vec<Self> = lines.flat_map(parse).collect();
        let bearer = all
            .iter()
            .find(|challenge| matches!(challenge, Self::Bearer { .. }));
        bearer.or(all.first()).cloned()
    }
}

/// Reads one header line, which may hold several challenges. Source: RFC 9110, 11.6.1.
fn parse(line: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = line;
    while let Some((scheme, after)) = scheme(rest) {
        let (parameters, after) = parameters(after);
        rest = after;
        let get = |name: &str| {
            let found = parameters
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        match get("realm") {
            Some(realm) if scheme.eq_ignore_ascii_case("bearer") => {
                challenges.push(Challenge::Bearer {
                    realm,
                    service: get("service"),
                    scope: get("scope"),
                });
            }
            _ if scheme.eq_ignore_ascii_case("basic") => challenges.push(Challenge::Basic),
            _ => {}
        }
    }
    challenges
}

/// The next word that is not part of a parameter.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([' ', '\t', ',']);
    let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// `key=value` pairs, up to where something else begins.
fn parameters(mut text: &str) -> (Vec<(&str, String)>, &str) {
    let mut pairs = Vec::new();
    loop {
        let start = text.trim_start_matches([' ', '\t', ',']);
        let Some((key, after)) = start.split_once('=') else {
            return (pairs, start);
        };
        let key = key.trim_end();
        if key.is_empty() || key.contains([' ', '\t', ',', '"']) {
            return (pairs, start);
        }
        let (value, rest) = value(after.trim_start());
        pairs.push((key, value));
        text = rest;
    }
}

fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => value.extend(chars.next()),
            c => value.push(c),
        }
    }
    (value, chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let (service, scope) = (service.map(Into::into), scope.map(Into::into));
        Challenge::Bearer {
            realm: realm.into(),
            service,
            scope,
        }
    }

    #[test]
    fn lines_as_registries_write_them() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/x:pull,push""#;
        let scope = "repository:library/x:pull,push";
        let wanted = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            Some(scope),
        );
        assert_eq!(parse(hub), [wanted]);
        assert_eq!(parse("basic realm=\"a b\""), [Challenge::Basic]);
        assert_eq!(parse("Basic"), [Challenge::Basic]);
        assert_eq!(
            parse("BEARER realm=x , service = \"s\\\"q\""),
            [bearer("x", Some("s\"q"), None)]
        );
        let both = parse("Basic realm=\"r\", Bearer realm=\"t\"");
        assert_eq!(both, [Challenge::Basic, bearer("t", None, None)]);
    }

    #[test]
    fn odd_lines_end() {
        for line in [
            "",
            ",",
            "=",
            "Bearer",
            "Bearer realm",
            "Bearer realm=\"",
            "Negotiate abc==",
            "\"",
            "é=é",
        ] {
            let found = parse(line);
            assert!(found.len() <= 1, "{line}: {found:?}");
        }
    }

    #[test]
    fn bearer_is_preferred() {
        let headers = [
            (WWW_AUTHENTICATE, "Basic realm=\"r\"".parse().unwrap()),
            (WWW_AUTHENTICATE, "Bearer realm=\"t\"".parse().unwrap()),
        ];
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        assert_eq!(Challenge::of(&map), Some(bearer("t", None, None)));
        assert_eq!(Challenge::of(&HeaderMap::new()), None);
    }
}
