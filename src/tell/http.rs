//! One HTTP POST: the crate's one door to ureq. Blocks.
//!
//! No redirect is followed: whoever moved is to be written where it went, rather than given a token for
//! somebody else, or a GET in place of a POST. `$HTTPS_PROXY` and its like are heeded.

use std::sync::Arc;
use std::time::Duration;

use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::error::{Error, Kind, Result};
use crate::path::escape;
use crate::secret::Revealed;

/// What is read of an answer that is no success, in bytes.
const READ_BYTES: u64 = 300;
/// A longer header of an answer is refused.
const MAX_HEADER_BYTES: usize = 32 << 10;

/// A POST to make.
#[derive(Debug)]
pub(super) struct Post {
    /// What is being done, as a verb phrase.
    pub operation: &'static str,
    /// Where to: http or https.
    pub url: Revealed,
    /// The same as it may be shown.
    pub shown: String,
    /// What the body is.
    pub content_type: &'static str,
    /// Header fields besides our own.
    pub headers: Vec<(String, Revealed)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long all of it may take.
    pub timeout: Duration,
}

impl Post {
    /// Makes it. Errors: `TimedOut`, `Unreachable`, `Failed` for what may be better later; `Permission`,
    /// `NotFound` or `Unsupported` for what the server refuses for good, `Usage` for what is no URL.
    pub fn make(self) -> Result<()> {
        let is_encrypted = self.url.expose().starts_with("https:");
        let mut request =
            agent(self.timeout, is_encrypted).post(self.url.expose()).content_type(self.content_type);
        for (name, value) in &self.headers {
            request = request.header(name, value.expose());
        }
        let response = request.send(&self.body[..]).map_err(|error| self.error(&error))?;
        if response.status().is_success() { Ok(()) } else { Err(self.refused(response)) }
    }

    fn refused(&self, mut response: Response<Body>) -> Error {
        let status = response.status();
        let kind = match status.as_u16() {
            401 | 403 | 407 => Kind::Permission,
            404 | 410 => Kind::NotFound,
            408 | 425 | 429 | 500.. => Kind::Failed,
            _ => Kind::Unsupported,
        };
        // What cannot be read of an answer that is no success does not matter.
        let mut said = response.body_mut().with_config().limit(READ_BYTES).read_to_vec().unwrap_or_default();
        said.truncate(READ_BYTES as usize);
        let said = self.without_secrets(escape(said.trim_ascii()));
        let said = if said.is_empty() { said } else { format!(": {said}") };
        let error = Error::new(kind, self.operation, &self.shown);
        let error = error.detail(format!("the server answered {}{said}", status.as_u16()));
        match status.is_redirection() {
            true => error.hint("No redirect is followed: write the URL to which it leads."),
            false => error,
        }
    }

    fn error(&self, error: &ureq::Error) -> Error {
        use ureq::Error as E;
        let (kind, why) = match error {
            E::Timeout(_) => {
                (Kind::TimedOut, format!("it took longer than {} s", self.timeout.as_secs_f32()))
            }
            // Their texts repeat what was given to them, and that may be a secret.
            E::BadUri(_) | E::Http(_) => (Kind::Usage, "the URL or a header field is not one".to_owned()),
            E::ConnectProxyFailed(_) => (Kind::Unreachable, "the proxy refuses to connect".into()),
            E::HostNotFound | E::ConnectionFailed | E::Io(_) => (Kind::Unreachable, error.to_string()),
            _ => (Kind::Failed, error.to_string()),
        };
        let why = self.without_secrets(escape(why.as_bytes()));
        Error::new(kind, self.operation, &self.shown).detail(why)
    }

    /// A server may say back what it was sent.
    fn without_secrets(&self, text: String) -> String {
        let path = self.url.expose().splitn(4, '/').nth(3);
        let secrets = self.headers.iter().map(|(_, value)| value.expose()).chain(path);
        secrets.filter(|secret| !secret.is_empty()).fold(text, |text, secret| text.replace(secret, "…"))
    }
}

/// The system's certificates are read each time, because they change in the years that a daemon runs.
fn agent(timeout: Duration, is_encrypted: bool) -> Agent {
    let load = || rustls_native_certs::load_native_certs().certs;
    let certificates = if is_encrypted { load() } else { Vec::new() };
    let roots = certificates.iter().map(|der| Certificate::from_der(der).to_owned());
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::from(roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_response_header_size(MAX_HEADER_BYTES)
        .user_agent(concat!("highwater/", env!("CARGO_PKG_VERSION")));
    config.build().new_agent()
}

/// The URL of a ping with a word added to its path, as healthchecks.io has it: before a query, if there is one.
pub(super) fn with_word(url: &str, word: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let path = path.trim_end_matches('/');
    match query {
        Some(query) => format!("{path}/{word}?{query}"),
        None => format!("{path}/{word}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_goes_to_the_end_of_the_path() {
        let check = |url: &str, expected: &str| assert_eq!(with_word(url, "fail"), expected);
        check("https://hc.example/ping/x", "https://hc.example/ping/x/fail");
        check("https://hc.example/ping/x/", "https://hc.example/ping/x/fail");
        check("https://hc.example/x?a=b/c#d", "https://hc.example/x/fail?a=b/c");
        check("https://hc.example", "https://hc.example/fail");
    }

    #[test]
    fn what_is_no_url_is_told_without_repeating_it() {
        let post = |url: &str| Post {
            operation: "post to",
            url: Revealed::new(url),
            shown: "env:URL".into(),
            content_type: "application/json",
            headers: vec![("Authorization".into(), Revealed::new("Bearer hunter2"))],
            body: Vec::new(),
            timeout: Duration::from_secs(30),
        };
        for url in ["hunter2", "http://", "ftp://hunter2/", "http://h:hunter2/"] {
            let error = post(url).make().unwrap_err();
            let told = format!("{error} {} {error:?} {:?}", error.reason(), post(url));
            assert!(!told.contains("hunter2"), "{told}");
            assert!(told.starts_with("cannot post to env:URL: "), "{told}");
        }
    }
}
