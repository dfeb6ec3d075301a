//! Whoever is told, for tests: a web server and a mail server that write down what they get.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Nothing that is waited for takes so long.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A certificate for `localhost` that nobody but its owner vouches for.
pub struct Identity {
    /// Lives as long as the file below.
    _folder: tempfile::TempDir,
    /// The certificate, for `$SSL_CERT_FILE`.
    pub certificate: PathBuf,
    config: Arc<ServerConfig>,
}

impl Identity {
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let certificate = folder.path().join("certificate.pem");
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config =
            config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key.into()).unwrap();
        Self { _folder: folder, certificate, config: Arc::new(config) }
    }

    fn wrap(config: &Arc<ServerConfig>, stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
        StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream)
    }
}

/// Up to and without the line end. Read byte by byte: what follows may be for somebody else.
fn line(stream: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\n") {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(String::from_utf8(line).unwrap().trim_end().to_owned())
}

/// Serves one connection after the other on a thread of its own until the process ends.
fn serve(mut each: impl FnMut(TcpStream) -> io::Result<()> + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            let _ = each(stream); // who hangs up, or does not like the certificate, is what a test is about
        }
    });
    port
}

/// A request as it came.
#[derive(Debug)]
pub struct Request {
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A web server that gives its answers in turn, and the last one for ever: status line and fields, empty line,
/// body. An empty answer never comes.
pub struct Web {
    pub port: u16,
    requests: Receiver<Request>,
    /// Connections on which nothing is said, until this is dropped.
    kept: Arc<Mutex<Vec<TcpStream>>>,
}

impl Drop for Web {
    fn drop(&mut self) {
        for stream in self.kept.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both); // whoever waited may have gone
        }
    }
}

pub const OK: &str = "200 OK\r\n\r\nthanks";

impl Web {
    pub fn answering(answers: &[&str], identity: Option<&Identity>) -> Self {
        let (got, requests) = mpsc::channel();
        let config = identity.map(|identity| Arc::clone(&identity.config));
        let mut answers: Vec<String> = answers.iter().rev().map(|answer| answer.to_string()).collect();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keeper = Arc::clone(&kept);
        let port = serve(move |stream| {
            let answer = if answers.len() > 1 { answers.pop().unwrap() } else { answers[0].clone() };
            keeper.lock().unwrap().extend(answer.is_empty().then(|| stream.try_clone().unwrap()));
            match &config {
                None => talk(stream, &answer, &got),
                Some(config) => talk(Identity::wrap(config, stream), &answer, &got),
            }
        });
        Self { port, requests, kept }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The next request, which must come.
    pub fn next(&self) -> Request {
        self.requests.recv_timeout(DEADLINE).expect("no request comes")
    }

    /// Whether nothing came that was not looked at. Of use only when nothing is on its way any more.
    pub fn is_quiet(&self) -> bool {
        self.requests.try_recv().is_err()
    }
}

fn talk(mut stream: impl Read + Write, answer: &str, got: &mpsc::Sender<Request>) -> io::Result<()> {
    let first = line(&mut stream)?;
    let mut headers = Vec::new();
    loop {
        let text = line(&mut stream)?;
        let Some((name, value)) = text.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body)?;
    got.send(Request { line: first, headers, body: String::from_utf8(body).unwrap() }).unwrap();
    if let Some((head, body)) = answer.split_once("\r\n\r\n") {
        let length = body.len();
        write!(stream, "HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")?;
        stream.flush()?;
    }
    Ok(())
}

/// A mail as it came.
#[derive(Debug, Default)]
pub struct Mail {
    /// What was said after AUTH; empty if nothing was.
    pub login: String,
    pub from: String,
    pub to: Vec<String>,
    /// Header and text, lines ended by line feeds.
    pub data: String,
    pub is_encrypted: bool,
}

/// How a mail server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    Clear,
    StartTls,
    Tls,
    /// It says nothing at all.
    Dead,
}

/// A mail server. Who is called `nobody` does not exist.
pub struct MailServer {
    pub port: u16,
    mails: Receiver<Mail>,
}

impl MailServer {
    pub fn start(line: Line, identity: &Identity) -> Self {
        let (got, mails) = mpsc::channel();
        let config = Arc::clone(&identity.config);
        let mut kept = Vec::new();
        let port = serve(move |mut stream| match line {
            Line::Dead => {
                kept.push(stream);
                Ok(())
            }
            Line::Tls => dialogue(&mut Identity::wrap(&config, stream), true, true, false, &got).map(drop),
            Line::Clear => dialogue(&mut stream, true, false, false, &got).map(drop),
            Line::StartTls => {
                if dialogue(&mut stream, true, false, true, &got)? {
                    dialogue(&mut Identity::wrap(&config, stream), false, true, false, &got)?;
                }
                Ok(())
            }
        });
        Self { port, mails }
    }

    /// The next mail, which must come.
    pub fn next(&self) -> Mail {
        self.mails.recv_timeout(DEADLINE).expect("no mail comes")
    }
}

/// Whether encryption is to begin.
fn dialogue(
    stream: &mut (impl Read + Write),
    greets: bool,
    is_encrypted: bool,
    offers_tls: bool,
    got: &mpsc::Sender<Mail>,
) -> io::Result<bool> {
    let mut mail = Mail { is_encrypted, ..Mail::default() };
    if greets {
        stream.write_all(b"220 localhost ready\r\n")?;
    }
    loop {
        let command = line(stream)?;
        let (verb, rest) = command.split_once([' ', ':']).unwrap_or((&command, ""));
        let answer = match verb.to_ascii_uppercase().as_str() {
            "EHLO" if offers_tls => "250-localhost\r\n250 STARTTLS",
            "EHLO" => "250-localhost\r\n250 AUTH PLAIN",
            "STARTTLS" => {
                stream.write_all(b"220 go ahead\r\n")?;
                return Ok(true);
            }
            "AUTH" => {
                mail.login = rest.into();
                "235 welcome"
            }
            "MAIL" => {
                mail.from = rest.into();
                mail.to.clear();
                "250 ok"
            }
            "RCPT" if rest.contains("nobody") => "550 there is nobody of that name",
            "RCPT" => {
                mail.to.push(rest.into());
                "250 ok"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                mail.data = text(stream)?;
                got.send(std::mem::take(&mut mail)).unwrap();
                "250 taken"
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n")?;
                return Ok(false);
            }
            _ => "250 ok",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes())?;
        stream.flush()?;
    }
}

fn text(stream: &mut impl Read) -> io::Result<String> {
    let mut text = String::new();
    loop {
        match line(stream)? {
            end if end == "." => return Ok(text),
            more => text = text + &more + "\n",
        }
    }
}
