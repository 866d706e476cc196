//! The next hop: smtp-sink(1), which writes each message it gets into a file.

use super::port;
use super::program;
use super::until;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use tempfile::TempDir;

pub(crate) struct Sink {
    pub port: u16,
    child: Child,
    dir: TempDir,
}

/// One message as the next hop got it.
#[derive(Clone, Debug)]
pub(crate) struct Delivered {
    pub sender: String,
    pub recipients: Vec<String>,
    /// Name and unfolded value, from top to bottom, the sink's own lines left out.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Delivered {
    /// All values of one name, from top to bottom.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let found = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).collect()
    }

    /// Where the first header of this name stands.
    #[track_caller]
    pub(crate) fn position(&self, name: &str) -> usize {
        let place = self.headers.iter().position(|(n, _)| n.eq_ignore_ascii_case(name));
        place.unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }
}

impl Sink {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// One that refuses every recipient for good: what makes Postfix bounce.
    pub(crate) fn refusing() -> Self {
        Self::with(&["-f", "RCPT"])
    }

    fn with(options: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("gatepost-sink-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let dump = dir.path().join("dump");
        fs::create_dir(&dump).unwrap();
        program::run("chown", [std::ffi::OsStr::new("postfix"), dump.as_os_str()]);
        let port = port::free();
        let child = Command::new("/usr/sbin/smtp-sink")
            .args(["-u", "postfix", "-d", "m.", "-R"])
            .arg(&dump)
            .args(options)
            .args([&format!("127.0.0.1:{port}"), "128"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("the sink", || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { port, child, dir }
    }

    /// Waits for `count` messages; fails when there are more.
    #[track_caller]
    pub(crate) fn messages(&self, count: usize) -> Vec<Delivered> {
        until(&format!("{count} delivered messages"), || (self.finished().len() >= count).then_some(()));
        let found = self.finished();
        assert_eq!(found.len(), count, "delivered messages");
        found.iter().map(|path| parse(&fs::read_to_string(path).unwrap())).collect()
    }

    #[track_caller]
    pub(crate) fn message(&self) -> Delivered {
        self.messages(1).remove(0)
    }

    /// How many have come so far.
    pub(crate) fn count(&self) -> usize {
        self.finished().len()
    }

    /// Files that the sink has closed, oldest first.
    fn finished(&self) -> Vec<PathBuf> {
        // The list of files is read before that of the open ones: a file in the
        // first and not in the second is whole.
        let mut files: Vec<_> = fs::read_dir(self.dir.path().join("dump"))
            .unwrap()
            .filter_map(|entry| {
                let entry = entry.ok()?;
                Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
            })
            .collect();
        let fds = fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let open: Vec<_> = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).collect();
        files.retain(|(_, path)| !open.contains(path));
        files.sort();
        files.into_iter().map(|(_, path)| path).collect()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(text: &str) -> Delivered {
    let text = text.replace("\r\n", "\n");
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let unfolded = head.replace("\n ", " ").replace("\n\t", " ");
    let mut delivered = Delivered {
        sender: String::new(),
        recipients: Vec::new(),
        headers: Vec::new(),
        body: body.trim_end().to_owned() + "\n",
    };
    for line in unfolded.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.trim();
        match name {
            "X-Mail-Args" => delivered.sender = address(value),
            "X-Rcpt-Args" => delivered.recipients.push(address(value)),
            _ => delivered.headers.push((name.to_owned(), value.to_owned())),
        }
    }
    // The sink's own Received line stands above the message.
    let own = delivered.headers.iter().position(|(_, value)| value.contains("by smtp-sink"));
    delivered.headers.drain(..own.map_or(0, |place| place + 1));
    delivered
}

/// `<a@b> SIZE=…` → `a@b`; a quoted local part may hold blanks.
fn address(args: &str) -> String {
    let path = args.rsplit_once('>').map_or(args, |(path, _)| path);
    path.trim_start_matches('<').to_owned()
}
