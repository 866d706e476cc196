//! TLS for a private Postfix and for our client, both by openssl(1): a
//! certificate that nobody signed, and `s_client` as the client's end.

use super::program;
use super::smtp;
use std::io::copy;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use tempfile::TempDir;

const OPENSSL: &str = "/usr/bin/openssl";

/// A key and its certificate, signed by itself.
pub(crate) struct Certificate {
    dir: TempDir,
}

impl Certificate {
    pub(crate) fn of(name: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("gatepost-tls-").tempdir().unwrap();
        let [key, certificate] = ["key.pem", "cert.pem"].map(|name| path(&dir, name));
        // A bare plus would begin another part of the name.
        let subject = format!("/CN={}", name.replace('+', "\\+"));
        let args = "req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1".split(' ');
        program::run(OPENSSL, args.chain(["-subj", &subject, "-keyout", &key, "-out", &certificate]));
        Self { dir }
    }

    /// Lines for main.cf: STARTTLS is offered, and a client's certificate asked for.
    pub(crate) fn main(&self) -> String {
        format!(
            "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n\
             smtpd_tls_ask_ccert = yes\n",
            path(&self.dir, "cert.pem"),
            path(&self.dir, "key.pem")
        )
    }

    /// A line for main.cf: who shows this certificate is believed.
    pub(crate) fn trusted(&self) -> String {
        format!("smtpd_tls_CAfile = {}\n", path(&self.dir, "cert.pem"))
    }

    /// Options for [`smtp::Smtp::starttls`] with which a client shows it.
    pub(crate) fn of_client(&self) -> Vec<String> {
        let [key, certificate] = ["key.pem", "cert.pem"].map(|name| path(&self.dir, name));
        ["-key", &key, "-cert", &certificate].map(str::to_owned).into()
    }
}

fn path(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).to_string_lossy().into_owned()
}

/// The process that encrypts, ended with the client that uses it.
pub(crate) struct Tls(Child);

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Encrypts what goes over `server`, on which STARTTLS was just answered.
pub(crate) fn encrypt(server: TcpStream, options: &[String]) -> (OwnedFd, Tls) {
    let relay = TcpListener::bind((smtp::INSIDE, 0)).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(server.read_timeout().unwrap()).unwrap();
    let child = Command::new(OPENSSL)
        .args(["s_client", "-quiet", "-noservername", "-connect"])
        .arg(relay.local_addr().unwrap().to_string())
        .args(options)
        .stdin(Stdio::from(OwnedFd::from(theirs.try_clone().unwrap())))
        .stdout(Stdio::from(OwnedFd::from(theirs)))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (client, _) = relay.accept().unwrap();
    pass(client.try_clone().unwrap(), server.try_clone().unwrap());
    pass(server, client);
    (ours.into(), Tls(child))
}

/// Copies until one side ends.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    from.set_read_timeout(None).unwrap();
    std::thread::spawn(move || {
        let _ = copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}
