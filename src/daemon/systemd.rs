//! What systemd is told of a service of `Type=notify` (sd_notify(3)): datagrams to the socket that it names.
//! Without one nothing is told.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Tells the service manager, if there is one.
#[derive(Debug)]
pub struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that the environment names: `$NOTIFY_SOCKET`, and `$WATCHDOG_USEC` for how often it wants to
    /// hear of us.
    pub fn of(env: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let socket = env("NOTIFY_SOCKET").and_then(|name| {
            let address = address(name.as_bytes())?;
            Some((UnixDatagram::unbound().ok()?, address))
        });
        let micros = env("WATCHDOG_USEC").and_then(|text| text.into_string().ok()?.parse().ok());
        let watchdog = micros.filter(|_| socket.is_some()).map(|micros| Duration::from_micros(micros) / 2);
        Self { socket, watchdog: watchdog.filter(|every| !every.is_zero()) }
    }

    /// How often [`alive`](Self::alive) is to be said; `None`: nobody listens for it.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Everything has begun.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// Nothing hangs.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// One line on how things are.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    fn tell(&self, text: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(text.as_bytes(), address) {
            tracing::debug!("cannot tell the service manager: {error}");
        }
    }
}

/// A path, or after an at sign a name that is in no folder.
fn address(name: &[u8]) -> Option<SocketAddr> {
    match name {
        [b'/', ..] => SocketAddr::from_pathname(std::path::Path::new(std::ffi::OsStr::from_bytes(name))).ok(),
        #[cfg(target_os = "linux")]
        [b'@', rest @ ..] => {
            <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(rest).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let read = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..read].to_vec()).unwrap()
    }

    fn manager(name: &str) -> Manager {
        let name = name.to_owned();
        Manager::of(&move |variable| match variable {
            "NOTIFY_SOCKET" => Some(name.clone().into()),
            "WATCHDOG_USEC" => Some("10000000".into()),
            _ => None,
        })
    }

    #[test]
    fn the_manager_hears_of_begin_and_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager = manager(path.to_str().unwrap());
        assert_eq!(manager.watchdog(), Some(Duration::from_secs(5)));
        manager.ready("2 jobs");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=2 jobs");
        manager.alive();
        assert_eq!(heard(&socket), "WATCHDOG=1");
        manager.stopping();
        assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=stopping");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn names_in_no_folder_are_reached() {
        let name = format!("highwater-test-{}", std::process::id());
        let address = address(format!("@{name}").as_bytes()).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        manager(&format!("@{name}")).alive();
        assert_eq!(heard(&socket), "WATCHDOG=1");
    }

    #[test]
    fn without_a_socket_nothing_is_told() {
        let manager = Manager::of(&|_| None);
        assert_eq!(manager.watchdog(), None);
        manager.ready("");
        assert!(super::address(b"relative").is_none());
    }
}
