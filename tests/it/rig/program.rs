//! Programs of others: run to their end, or signalled by process id. Only
//! processes the test has started are ever signalled.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

/// Runs it and fails the test if it fails.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> String {
    let output = try_run(program, args, "");
    assert!(output.status.success(), "{program}: {}\n{}", output.status, both(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs it with `input` on its standard input.
pub(crate) fn try_run<S: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = S>,
    input: &str,
) -> Output {
    let mut child = Command::new(program)
        .args(args)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("can't run {program}: {error}"));
    // A program that does not read its input closes the pipe: not our concern.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Starts it in the background; what it complains of goes to a file.
pub(crate) fn start<S: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = S>,
    complaints: &Path,
) -> Child {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(complaints).unwrap())
        .spawn()
        .unwrap_or_else(|error| panic!("can't start {program}: {error}"))
}

/// Both streams, as a person would have seen them.
pub(crate) fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// `kill -SIGNAL pid`; through the shell, whose builtin is always there.
pub(crate) fn signal(name: &str, pid: u32) {
    let _ = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).stderr(Stdio::null()).status();
}

/// A zombie counts as ended.
pub(crate) fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}
