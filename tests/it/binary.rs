//! Runs the real binary, as a user would.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary, with nothing of this process's environment that could change what it does.
pub fn sluicebox<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicebox"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SLUICEBOX")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command
}

/// Runs to the end; panics with everything that was printed unless the exit code is 0.
pub fn json_of<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Value {
    let output = sluicebox(arguments).output().expect("the binary starts");
    assert!(output.status.success(), "{}", told(&output));
    parse(&output)
}

/// The one object on standard output.
pub fn parse(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("not one JSON object ({error}): {}", told(output)))
}

/// Runs to the end and expects this exit code; gives back what was said on standard error.
pub fn failure_of<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>, code: i32) -> String {
    let output = sluicebox(arguments).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(code), "{}", told(&output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn told(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n-- stdout\n{out}\n-- stderr\n{err}", output.status)
}

/// A process that is killed when the test ends, however it ends.
pub struct Running(pub Child);

impl Running {
    pub fn start(mut command: Command) -> Running {
        Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts"))
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: sends a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.0.id() as i32, signal) }, 0);
    }

    /// Waits for the end within a limit.
    pub fn end(mut self, limit: Duration) -> Output {
        wait_until("the process ends", limit, || self.0.try_wait().expect("a child can be waited for").is_some());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        if let Some(mut pipe) = self.0.stdout.take() {
            std::io::Read::read_to_end(&mut pipe, &mut out).expect("stdout can be read");
        }
        if let Some(mut pipe) = self.0.stderr.take() {
            std::io::Read::read_to_end(&mut pipe, &mut err).expect("stderr can be read");
        }
        Output { status: self.0.wait().expect("a child can be waited for"), stdout: out, stderr: err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks until `done`; panics when it takes too long.
pub fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// One HTTP request to a local server: status and body. `None` when nobody listens.
pub fn get(address: &str, path: &str) -> Option<(u16, String)> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// A Python with the packages that the tests need.
pub fn python() -> String {
    let output = Command::new(repository("tests/python/venv.sh")).output().expect("the script starts");
    assert!(output.status.success(), "{}", told(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A file of the repository.
pub fn repository(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).to_string_lossy().into_owned()
}
