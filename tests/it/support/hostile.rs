//! An SSH server that lets everybody in and answers SFTP requests as a script says: for what no honest
//! server does.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What the server says of a path, and what it gives to read there.
#[derive(Debug, Clone, Default)]
pub struct Tale {
    /// Type and permission bits.
    pub mode: u32,
    /// What it says the size is.
    pub size: u64,
    /// What READ finds.
    pub content: Vec<u8>,
    /// What READLINK says.
    pub link: Vec<u8>,
    /// The names in the folder, with what the listing says of each.
    pub names: Vec<(Vec<u8>, u32, u64)>,
}

/// Called with a path and how many requests there were before: `None` is NO_SUCH_FILE.
pub type Script = Arc<dyn Fn(&[u8], u64) -> Option<Tale> + Send + Sync>;

/// A folder with these files; whatever is asked for below it is a small file.
pub fn folder_of(names: &[&[u8]]) -> Script {
    let names: Vec<_> = names.iter().map(|name| (name.to_vec(), 0o100_644, 4)).collect();
    Arc::new(move |path, _| {
        Some(match path {
            b"/far" => Tale { mode: 0o40_755, names: names.clone(), ..Tale::default() },
            _ => Tale { mode: 0o100_644, size: 4, content: b"evil".to_vec(), ..Tale::default() },
        })
    })
}

/// Starts listening; returns where, and the line for known_hosts. Runs as long as the runtime does.
pub async fn start(script: Script) -> (SocketAddr, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
    let line = key.public_key().to_openssh().expect("a public key");
    let config = Arc::new(russh::server::Config { keys: vec![key], ..russh::server::Config::default() });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (config, handler) =
                (config.clone(), Host { script: script.clone(), channels: HashMap::new() });
            tokio::spawn(async move {
                if let Ok(session) = russh::server::run_stream(config, stream, handler).await {
                    let _ = session.await; // how the client leaves is its own affair
                }
            });
        }
    });
    (addr, format!("[127.0.0.1]:{} {line}\n", addr.port()))
}

struct Host {
    script: Script,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl Handler for Host {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _user: &str,
        _key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(id)?;
        if let Some(channel) = self.channels.remove(&id) {
            let script = self.script.clone();
            tokio::spawn(async move {
                let mut stream = channel.into_stream();
                let mut liar = Liar { script, asked: HashMap::new(), handles: Mutex::default() };
                while let Ok(length) = stream.read_u32().await {
                    let mut packet = vec![0; length as usize];
                    if stream.read_exact(&mut packet).await.is_err() {
                        break;
                    }
                    let answer = liar.answer(&packet);
                    let framed = [&(answer.len() as u32).to_be_bytes()[..], &answer].concat();
                    if stream.write_all(&framed).await.is_err() || stream.flush().await.is_err() {
                        break;
                    }
                }
            });
        }
        Ok(())
    }
}

/// One SFTP session.
struct Liar {
    script: Script,
    /// How often each path was asked for.
    asked: HashMap<Vec<u8>, u64>,
    /// Path and whether it was listed, by handle.
    handles: Mutex<Vec<(Vec<u8>, bool)>>,
}

impl Liar {
    fn answer(&mut self, packet: &[u8]) -> Vec<u8> {
        let (kind, rest) = packet.split_first().expect("a type");
        if *kind == 1 {
            return vec![2, 0, 0, 0, 3];
        }
        let (id, mut rest) = (&rest[..4], &rest[4..]);
        let first = take_string(&mut rest);
        let head = |kind: u8| [&[kind], id].concat();
        match kind {
            3 | 11 => match self.tale(&first) {
                Some(_) => {
                    let handles = self.handles.get_mut().expect("a lock");
                    handles.push((first, false));
                    let handle = (handles.len() as u32 - 1).to_be_bytes();
                    [head(102), string(&handle)].concat()
                }
                None => status(id, 2),
            },
            4 => status(id, 0),
            5 => {
                let offset = u64::from_be_bytes(rest[..8].try_into().expect("an offset")) as usize;
                let len = u32::from_be_bytes(rest[8..12].try_into().expect("a length")) as usize;
                let path = self.path_of(&first).0;
                let content = self.tale(&path).map(|tale| tale.content).unwrap_or_default();
                match content.get(offset..) {
                    Some(left) if !left.is_empty() => {
                        [head(103), string(&left[..left.len().min(len)])].concat()
                    }
                    _ => status(id, 1),
                }
            }
            7 | 8 | 17 => {
                let path = if *kind == 8 { self.path_of(&first).0 } else { first };
                match self.tale(&path) {
                    Some(tale) => [head(105), attrs(tale.mode, tale.size)].concat(),
                    None => status(id, 2),
                }
            }
            12 => match self.path_of(&first) {
                (_, true) => status(id, 1),
                (path, false) => {
                    let names = self.tale(&path).map(|tale| tale.names).unwrap_or_default();
                    let mut reply = [head(104), (names.len() as u32).to_be_bytes().to_vec()].concat();
                    for (name, mode, size) in names {
                        reply.extend([string(&name), string(b"a long name"), attrs(mode, size)].concat());
                    }
                    reply
                }
            },
            16 => [head(104), 1u32.to_be_bytes().to_vec(), string(&first), string(b""), attrs(0o40_755, 0)]
                .concat(),
            19 => match self.tale(&first) {
                Some(tale) => {
                    [head(104), 1u32.to_be_bytes().to_vec(), string(&tale.link), string(b""), attrs(0, 0)]
                        .concat()
                }
                None => status(id, 2),
            },
            _ => status(id, 8),
        }
    }

    fn tale(&mut self, path: &[u8]) -> Option<Tale> {
        let asked = self.asked.entry(path.to_vec()).or_default();
        *asked += 1;
        (self.script)(path, *asked - 1)
    }

    /// The path of a handle, and whether its listing was given before.
    fn path_of(&mut self, handle: &[u8]) -> (Vec<u8>, bool) {
        let number = u32::from_be_bytes(handle.try_into().expect("a handle of ours")) as usize;
        let entry = &mut self.handles.get_mut().expect("a lock")[number];
        let known = entry.clone();
        entry.1 = true;
        known
    }
}

fn take_string(rest: &mut &[u8]) -> Vec<u8> {
    let (len, after) = rest.split_at(4);
    let len = u32::from_be_bytes(len.try_into().expect("a length")) as usize;
    let (text, after) = after.split_at(len);
    *rest = after;
    text.to_vec()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

/// Size, permissions and times.
fn attrs(mode: u32, size: u64) -> Vec<u8> {
    let time = 1_700_000_000u32.to_be_bytes();
    [&13u32.to_be_bytes()[..], &size.to_be_bytes(), &mode.to_be_bytes(), &time, &time].concat()
}

fn status(id: &[u8], code: u32) -> Vec<u8> {
    [&[101], id, &code.to_be_bytes(), &string(b"no \x1b[31mway"), &string(b"")].concat()
}
