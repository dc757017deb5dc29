//! Secrets: named in the settings by where they are kept, read once, never printed.

use std::collections::BTreeMap;
use std::fmt;

use toml::Value;

/// What stands where a secret would be.
pub const MASK: &str = "********";

/// A password. Its `Debug` form is the mask, so that no log line can leak it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for the one who logs in with it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Reads `{ env = "NAME" }` or `{ file = "PATH" }`; on failure, what to do.
    ///
    /// A line break at the end of a file is not part of the secret: editors put it there.
    pub(super) fn read(reference: &Value, environment: &BTreeMap<String, String>) -> Result<Secret, String> {
        let named = |key: &str| reference.get(key).and_then(Value::as_str);
        let text = match (named("env"), named("file")) {
            (Some(name), _) => match environment.get(name) {
                Some(text) => text.clone(),
                None => return Err(format!("set the environment variable {name}")),
            },
            (None, Some(path)) => match std::fs::read_to_string(path) {
                Ok(text) => text.trim_end_matches(['\r', '\n']).to_owned(),
                Err(error) => return Err(format!("make the file {path} readable ({error})")),
            },
            (None, None) => return Err("write { env = \"NAME\" } or { file = \"PATH\" }".to_owned()),
        };
        if text.is_empty() { Err("the secret is empty: fill it in".to_owned()) } else { Ok(Secret(text)) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Does the key of a pass-through property name something that must not be printed?
pub fn is_secret_property(key: &str) -> bool {
    const TELLTALES: [&str; 8] =
        ["password", "secret", "token", "jaas", "credential", "key.pem", "oauthbearer.config", "passphrase"];
    let key = key.to_ascii_lowercase();
    TELLTALES.iter().any(|telltale| key.contains(telltale))
}
