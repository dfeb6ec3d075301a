//! Whether people are told by receivers that others wrote: Python's `http.server` hears webhooks and pings,
//! aiosmtpd hears mail, a shell script is the command. A job that never ran is late, and then has a round.
//!
//! Needs python3 with aiosmtpd (Debian: python3-aiosmtpd).

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::rig::{Rig, wait_until, write};
use crate::{Doing, Given, Result};

/// Writes down what is asked of it: method, path, the header field of a secret, the body.
const WEB: &str = "
import http.server, sys
class Hears(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('content-length') or 0)).decode()
        print('POST', self.path, self.headers.get('authorization'), body.replace('\\n', ' '), flush=True)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Hears).serve_forever()
";

/// Ended when dropped.
struct Receiver(Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// Has all kinds of targets hear of a late job and of its first round.
pub fn run(given: &Given) -> Result<Vec<String>> {
    let rig = Rig::start(given, Duration::ZERO)?;
    let (web_port, mail_port) = (free_port()?, free_port()?);
    fs::write(rig.file("web.py"), WEB).doing("write web.py")?;
    let script = "#!/bin/sh\n{ echo \"$HIGHWATER_EVENT $HIGHWATER_JOB\"; cat; echo; } >> \"$0.log\"\n";
    fs::write(rig.file("tell"), script).doing("write the command")?;
    let web = rig.file("web.py").display().to_string();
    let _web = start(&rig, "web.log", &[&web, &web_port.to_string()])?;
    let smtp = format!("127.0.0.1:{mail_port}");
    let _mail = start(
        &rig,
        "mail.log",
        &["-m", "aiosmtpd", "-n", "-l", &smtp, "-c", "aiosmtpd.handlers.Debugging", "stdout"],
    )?;
    for port in [web_port, mail_port] {
        wait_until("start the receivers (python3 with aiosmtpd)", || {
            Ok(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
        })?;
    }
    configure(&rig, web_port, mail_port)?;
    let mut daemon = rig.daemon()?;
    hear(&rig, "late")?;
    write(&rig.near().join("a"), b"a round can succeed")?;
    rig.ask(&["now", "j"])?;
    hear(&rig, "recovered")?;
    wait_until("ping", || Ok(read(&rig, "web.log")?.contains("POST /ping/start ")))?;
    wait_until("ping that all is well", || Ok(read(&rig, "web.log")?.contains("POST /ping None")))?;
    rig.compare()?;
    daemon.stop()?;
    if fs::read_to_string(rig.file("daemon.log")).doing("read the daemon's log")?.contains("t0ken") {
        return Err("the log has the secret of the webhook".into());
    }
    Ok(vec![
        "a command, http.server (webhook with a secret, pings) and aiosmtpd (mail) heard late, and recovered"
            .into(),
    ])
}

fn configure(rig: &Rig, web_port: u16, mail_port: u16) -> Result<()> {
    let more =
        "schedule: {cron: \"0 0 29 2 *\"}\nalarm: {no_success_for: 2s}\nnotify: [command, web, mail, ping]";
    rig.configure(more)?;
    fs::write(rig.file("token"), "Bearer t0ken\n").doing("write the secret")?;
    for (name, mode) in [("token", 0o600), ("tell", 0o755)] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(rig.file(name), mode).doing("set modes")?;
    }
    let config = fs::read_to_string(rig.file("config.yml")).doing("read the config")?;
    let text = format!(
        "{config}notify:\n  command: {{command: [{}], on: [late, recovered]}}\n  \
         web: {{webhook: \"http://127.0.0.1:{web_port}/hook\", headers: {{Authorization: \"file:{}\"}}}}\n  \
         mail: {{email: ops@example.org}}\n  ping: {{healthchecks: \"http://127.0.0.1:{web_port}/ping\"}}\n\
         smtp: {{host: 127.0.0.1, port: {mail_port}, tls: none, from: highwater@example.org}}\n",
        rig.file("tell").display(),
        rig.file("token").display(),
    );
    fs::write(rig.file("config.yml"), text).doing("write the config")
}

/// Waits until the command, the webhook and the mail told of this event.
fn hear(rig: &Rig, event: &str) -> Result<()> {
    let subject = if event == "late" { "no success for" } else { "well again" };
    wait_until(&format!("hear {event} by the command"), || {
        Ok(read(rig, "tell.log")?.contains(&format!("{event} j\n")))
    })?;
    wait_until(&format!("hear {event} by the webhook"), || {
        let told = read(rig, "web.log")?;
        Ok(told.lines().any(|line| {
            line.starts_with("POST /hook Bearer t0ken") && line.contains(&format!("\"event\":\"{event}\""))
        }))
    })?;
    wait_until(&format!("hear {event} by mail"), || {
        Ok(read(rig, "mail.log")?.lines().any(|line| line.starts_with("Subject: ") && line.contains(subject)))
    })
}

/// What was heard so far; the file is made when there is something to hear.
fn read(rig: &Rig, name: &str) -> Result<String> {
    match fs::read_to_string(rig.file(name)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.doing("read what was heard"),
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).doing("find a port")?;
    Ok(listener.local_addr().doing("find a port")?.port())
}

fn start(rig: &Rig, log: &str, args: &[&str]) -> Result<Receiver> {
    let log = File::create(rig.file(log)).doing("make a log")?;
    let errors = log.try_clone().doing("make a log")?;
    let mut command = Command::new("python3");
    command.args(args).stdin(Stdio::null()).stdout(log).stderr(errors);
    command.spawn().map(Receiver).doing("run python3")
}
