//! One mail by SMTP: the crate's one door to lettre.

use std::time::Duration;

use lettre::address::Envelope;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls as Encryption, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use crate::config::model::{Smtp, Tls};
use crate::error::{Error, Kind, Result};
use crate::path::escape;
use crate::report::one_line;
use crate::secret::Revealed;
use crate::units::human_duration;

/// A mail to send.
#[derive(Debug)]
pub(super) struct Mail<'a> {
    /// The server.
    pub smtp: &'a Smtp,
    /// The password for it; `None`: no login.
    pub password: Option<Revealed>,
    /// To whom.
    pub to: &'a [String],
    /// The subject, on one line.
    pub subject: String,
    /// The text.
    pub text: String,
    /// What this machine calls itself.
    pub host: &'a str,
    /// How long all of it may take.
    pub timeout: Duration,
}

impl Mail<'_> {
    /// Sends it, to one after the other: that one of them is refused concerns no other. Errors: of the first that
    /// did not get it; `Unsupported` for what is refused for good, `Usage` for what is no address, `TimedOut`.
    pub async fn send(self) -> Result<()> {
        // lettre bounds connecting, and no answer after it.
        let sent = tokio::time::timeout(self.timeout, self.send_to_each()).await;
        let late =
            || self.error(Kind::TimedOut, &format!("it took longer than {}", human_duration(self.timeout)));
        sent.unwrap_or_else(|_| Err(late()))
    }

    async fn send_to_each(&self) -> Result<()> {
        let sender = mailbox(&self.smtp.from)?;
        let to: Vec<Mailbox> = self.to.iter().map(|to| mailbox(to)).collect::<Result<_>>()?;
        let message = self.message(&sender, &to)?.formatted();
        let transport = self.transport()?;
        let mut refused = None;
        for mailbox in to {
            let envelope = Envelope::new(Some(sender.email.clone()), vec![mailbox.email.clone()]);
            let envelope = envelope.map_err(|e| self.error(Kind::Usage, &e.to_string()))?;
            if let Err(error) = transport.send_raw(&envelope, &message).await {
                let to = escape(mailbox.email.to_string().as_bytes());
                let error = self.error(kind_of(&error), &format!("for {to}: {error}"));
                tracing::debug!("{error}");
                refused.get_or_insert(error);
            }
        }
        refused.map_or(Ok(()), Err)
    }

    fn message(&self, sender: &Mailbox, to: &[Mailbox]) -> Result<Message> {
        // RFC 3834 §5: nobody's absence is to be answered to a program.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let mut message = Message::builder().from(sender.clone()).subject(&self.subject).message_id(None);
        for mailbox in to {
            message = message.to(mailbox.clone());
        }
        let message = message.header(ContentType::TEXT_PLAIN);
        let message = message.raw_header(HeaderValue::new(automatic, "auto-generated".into()));
        message.body(self.text.clone()).map_err(|e| self.error(Kind::Usage, &e.to_string()))
    }

    fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>> {
        let parameters = || {
            let parameters = TlsParameters::new(self.smtp.host.clone());
            parameters.map_err(|e| self.error(Kind::Usage, &e.to_string()))
        };
        let encryption = match self.smtp.tls {
            Tls::None => Encryption::None,
            Tls::StartTls => Encryption::Required(parameters()?),
            Tls::Tls => Encryption::Wrapper(parameters()?),
        };
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.smtp.host) // until the next line
            .tls(encryption)
            .port(self.smtp.port)
            .timeout(Some(self.timeout))
            .hello_name(ClientId::Domain(self.host.into()));
        let login = self.smtp.login.as_ref().zip(self.password.as_ref());
        Ok(match login {
            Some(((user, _), password)) => {
                transport.credentials(Credentials::new(user.clone(), password.expose().into())).build()
            }
            None => transport.build(),
        })
    }

    fn error(&self, kind: Kind, why: &str) -> Error {
        let why = match self.password.as_ref().map(Revealed::expose) {
            Some(password) if !password.is_empty() => why.replace(password, "…"),
            _ => why.to_owned(),
        };
        let server = format!("{}:{}", escape(self.smtp.host.as_bytes()), self.smtp.port);
        Error::new(kind, "send mail by", server).detail(super::notice::cut(&one_line(&why), 500))
    }
}

fn mailbox(address: &str) -> Result<Mailbox> {
    address.parse().map_err(|e: lettre::address::AddressError| {
        Error::new(Kind::Usage, "send mail to", escape(address.as_bytes())).because(e)
    })
}

fn kind_of(error: &lettre::transport::smtp::Error) -> Kind {
    if error.is_timeout() {
        Kind::TimedOut
    } else if error.is_permanent() {
        Kind::Unsupported
    } else if error.is_client() || error.is_transient() || error.is_response() || error.is_tls() {
        Kind::Failed
    } else {
        Kind::Unreachable
    }
}
