//! `--secret`: where a secret is.

use std::path::PathBuf;

use super::csv::fields;

/// A secret as named on the command line; its value is read when the build begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretArg {
    /// Under which name the Dockerfile asks for it.
    pub id: String,
    /// Where it is.
    pub place: SecretPlace,
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretPlace {
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Variable(String),
    /// In the variable of this name if it is set, in the file otherwise.
    Either(String),
}

/// Reads `id=NAME[,type=file|env][,src=FILE][,env=VARIABLE]`, as buildx does.
pub fn secret(text: &str) -> Result<SecretArg, String> {
    let mut fields = fields(text)?;
    let mut take = |names: &[&str]| names.iter().find_map(|name| fields.remove(*name));
    let id = take(&["id"])
        .filter(|id| !id.is_empty())
        .ok_or("a secret needs id=")?;
    let kind = take(&["type"]);
    let variable = take(&["env"]);
    let file = take(&["src", "source"]);
    if let Some(name) = fields.keys().next() {
        return Err(format!("a secret has no setting `{name}`"));
    }
    let place = match (kind.as_deref(), file, variable) {
        (None, None, None) => SecretPlace::Either(id.clone()),
        (None | Some("file"), file, None) => {
            SecretPlace::File(file.unwrap_or_else(|| id.clone()).into())
        }
        (None | Some("env"), None, Some(name)) => SecretPlace::Variable(name),
        (Some("env"), name, None) => SecretPlace::Variable(name.unwrap_or_else(|| id.clone())),
        (None | Some("file" | "env"), _, Some(_)) => {
            return Err("a secret comes from a file or from a variable, not from both".to_owned());
        }
        (Some(other), ..) => return Err(format!("secret type `{other}` is none of file, env")),
    };
    Ok(SecretArg { id, place })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_files_or_variables() {
        let place = |text| secret(text).unwrap().place;
        assert_eq!(place("id=a"), SecretPlace::Either("a".into()));
        assert_eq!(place("id=a,src=f"), SecretPlace::File("f".into()));
        assert_eq!(place("id=a,type=file"), SecretPlace::File("a".into()));
        assert_eq!(place("id=a,env=V"), SecretPlace::Variable("V".into()));
        assert_eq!(place("id=a,type=env"), SecretPlace::Variable("a".into()));
        assert_eq!(
            place("type=env,id=a,src=V"),
            SecretPlace::Variable("V".into())
        );
        for text in [
            "",
            "id=",
            "src=f",
            "id=a,src=f,env=V",
            "id=a,x=y",
            "id=a,type=what",
            "id",
        ] {
            assert!(secret(text).is_err(), "{text}");
        }
    }
}
