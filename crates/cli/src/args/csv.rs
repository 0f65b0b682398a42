//! Comma-separated settings within one value.

use std::collections::BTreeMap;

/// Reads a truth value as Go does.
pub fn switch(name: &str, text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(format!("{name}={other} is neither true nor false")),
    }
}

/// Reads `NAME=VALUE` fields separated by commas. A field that holds a comma stands in double
/// quotes, doubled ones within; names are taken in any case.
pub fn fields(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    for field in split(text)? {
        let (name, value) = field
            .split_once('=')
            .ok_or_else(|| format!("`{field}` is no NAME=VALUE"))?;
        let name = name.trim().to_ascii_lowercase();
        if found.insert(name.clone(), value.to_owned()).is_some() {
            return Err(format!("`{name}` is given twice"));
        }
    }
    Ok(found)
}

/// Splits one line of comma-separated values (RFC 4180).
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let last = fields.len() - 1;
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                fields[last].push('"');
            }
            '"' if quoted || fields[last].is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields[last].push(c),
        }
    }
    if quoted {
        return Err(format!("`{text}` has an open quote"));
    }
    Ok(fields)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fields_may_be_quoted() {
        let fields = fields(r#"A=1,"b=2,3","c=""q""""#).unwrap();
        assert_eq!(
            (&fields["a"][..], &fields["b"][..], &fields["c"][..]),
            ("1", "2,3", "\"q\"")
        );
        assert!(super::fields("a=1,a=2").is_err());
        assert!(super::fields("\"a=1").is_err());
    }
}
