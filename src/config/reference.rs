//! How secrets, and what may hold one, are referred to. What is refused is never repeated: it may be the
//! secret.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::leaf::{Leaf, LocalPath, shown, text_schema};
use super::node::Node;
use super::read::{Read, Reader, Spot};

const PREFIXES: [&str; 4] = ["env:", "file:", "cmd:", "credential:"];

fn has_prefix(text: &str) -> bool {
    PREFIXES.iter().any(|prefix| text.len() > prefix.len() && text.starts_with(prefix))
}

/// Where a secret is to be had.
#[derive(Debug, Clone)]
pub(super) struct SecretText(pub String);

impl Leaf for SecretText {
    const EXPECTED: &'static str = "a reference to a secret such as env:NAME";

    fn parse(text: &str) -> Result<Self, String> {
        if !has_prefix(text) {
            return Err(
                "secrets are not written into the configuration; say where it is to be had: env:NAME, \
                        file:PATH, cmd:COMMAND or credential:NAME"
                    .into(),
            );
        }
        check_reference(text)?;
        Ok(Self(text.into()))
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^(env|file|cmd|credential):.", "examples": ["env:OFFSITE_PASSWORD"]})
    }
}

/// A private key: its file, or a reference to its text.
#[derive(Debug, Clone)]
pub(super) struct KeyText(pub String);

impl Leaf for KeyText {
    const EXPECTED: &'static str = "the path of a private key";

    fn parse(text: &str) -> Result<Self, String> {
        if text.contains("PRIVATE KEY") || text.contains('\n') {
            return Err("keys are not written into the configuration; give the path of the key file".into());
        }
        if text.ends_with(".pub") {
            return Err(format!("{} is a public key; give the private one", shown(text)));
        }
        if has_prefix(text) {
            check_reference(text)?;
        } else {
            LocalPath::parse(text)?;
        }
        Ok(Self(text.into()))
    }

    fn schema() -> Schema {
        text_schema("~/.ssh/id_ed25519")
    }
}

fn check_reference(text: &str) -> Result<(), String> {
    let plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    match text.split_once(':') {
        Some(("file", path)) => LocalPath::parse(path).map(drop),
        Some(("env" | "credential", name)) if !plain(name) || matches!(name, "." | "..") => {
            Err("a name has only letters, digits, \"_\", \"-\" and \".\"".into())
        }
        Some(("cmd", command)) if command.contains(['"', '\'', '\\', '$', '|', '>', '<', '`', ';', '&']) => {
            Err("a command is words between spaces, no shell: put what needs one into a script".into())
        }
        Some(("cmd", command)) if command.trim().is_empty() => Err("the command is missing".into()),
        _ => Ok(()),
    }
}

/// A URL that is called, or a reference to one. Never repeated: it may carry a token.
#[derive(Debug, Clone)]
pub(super) struct Url(pub String);

impl Leaf for Url {
    const EXPECTED: &'static str = "a URL such as https://example.org/ping";

    fn parse(text: &str) -> Result<Self, String> {
        let host = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let is_url = host.is_some_and(|h| !h.is_empty()) && !text.contains(char::is_whitespace);
        if !is_url && !has_prefix(text) {
            return Err("a URL begins with https:// or http://".into());
        }
        Ok(Self(text.into()))
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^(https?://|(env|file|cmd|credential):)."})
    }
}

/// Header fields of a webhook, each a reference: what stands in them is often a token.
#[derive(Debug, Clone)]
pub(super) struct Headers(pub Vec<(String, Spot<SecretText>)>);

/// Fields that the request needs for itself.
const OURS: [&str; 5] = ["content-length", "content-type", "host", "transfer-encoding", "connection"];

impl Read for Headers {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut headers = Vec::new();
        for (key, value) in reader.entries(node)? {
            // RFC 9110 §5.6.2, but for what nobody uses.
            let is_name = key.text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
            if !is_name || key.text.is_empty() {
                reader.mistake(key.at, format!("{} is not the name of a header field", shown(&key.text)));
            } else if OURS.contains(&key.text.to_ascii_lowercase().as_str()) {
                reader.mistake(key.at, format!("the header field {} is ours to set", key.text));
            }
            headers.extend(reader.field(&key.text, value).map(|value| (key.text.clone(), value)));
        }
        Some(Self(headers))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "additionalProperties": <SecretText as Leaf>::schema()})
    }
}

#[cfg(test)]
mod tests {
    use super::super::leaf::tests::refused;
    use super::*;

    #[test]
    fn a_secret_is_refused_without_being_repeated() {
        for good in ["env:PW", "file:/etc/agent/pw", "file:~/.pw", "cmd:pass show acme", "credential:pw"] {
            assert!(SecretText::parse(good).is_ok(), "{good}");
        }
        for bad in ["hunter2", "env:", "hunter2:x", "cmd:echo 'hunter2'", "file:hunter2x", "env:$hunter2"] {
            let error = SecretText::parse(bad).err().unwrap();
            assert!(bad.starts_with("file:") || !error.contains("hunter2"), "{bad}: {error}");
        }
        assert!(KeyText::parse("~/.ssh/id_ed25519").is_ok() && KeyText::parse("credential:key").is_ok());
        refused::<KeyText>("-----BEGIN OPENSSH PRIVATE KEY-----", "not written into");
        refused::<KeyText>("~/.ssh/id_ed25519.pub", "public key");
        refused::<KeyText>("id_ed25519", "not an absolute path");
        refused::<Url>("hc.example/ping", "begins with https://");
    }
}
