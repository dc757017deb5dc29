//! The demo's child processes. They die with this one, however it ends.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use super::{PARTITIONS, Stage, TOPIC};
use crate::cli::progress::MACHINE_PREFIX;
use crate::exit::{Exit, Failure};

/// A child that is killed when this value goes away.
pub struct Guarded(pub Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn command(name: &str) -> Result<Command, Failure> {
    let program = std::env::current_exe().map_err(|error| Exit::Io.because(error))?;
    let mut command = Command::new(program);
    command.arg(name).stdin(Stdio::piped()).stdout(Stdio::piped());
    tie_to_parent(&mut command);
    Ok(command)
}

/// The kernel kills the child when the thread that started it ends: the main thread, which stays to the last.
fn tie_to_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "there is no safe way to run something between fork and exec")]
    // SAFETY: prctl is async-signal-safe and touches nothing but the new process.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}

/// The settings of the demo, and where its broker is.
fn settings_for(command: &mut Command, stage: &Stage, broker: &Broker) {
    command.arg("-c").arg(&stage.settings_file).args(["--log", "error"]);
    for setting in &stage.set {
        command.args(["--set", setting]);
    }
    command.args(["--set", &format!("kafka.brokers={}", broker.address), "--set", &format!("kafka.topics={TOPIC}")]);
}

pub fn spawn(mut command: Command, what: &str) -> Result<Guarded, Failure> {
    command.spawn().map(Guarded).map_err(|error| Exit::Io.because(format!("could not start the {what}: {error}")))
}

/// The embedded broker.
pub struct Broker {
    pub address: String,
    child: Guarded,
}

impl Broker {
    pub fn start(topic: &str, partitions: u32) -> Result<Broker, Failure> {
        let mut command = command("demo-broker")?;
        command.args(["--topic", topic, "--partitions", &partitions.to_string()]).stderr(Stdio::inherit());
        let mut child = spawn(command, "embedded broker")?;
        let mut address = String::new();
        if let Some(stdout) = child.0.stdout.take() {
            BufReader::new(stdout).read_line(&mut address).map_err(|error| Exit::Io.because(error))?;
        }
        let address = address.trim().to_owned();
        if address.is_empty() {
            return Err(Exit::Unavailable.because("the embedded broker ended without an address"));
        }
        Ok(Broker { address, child })
    }

    pub fn process(&self) -> u32 {
        self.child.0.id()
    }
}

/// Writes the log.
pub struct Simulator {
    child: Guarded,
}

impl Simulator {
    pub fn start(stage: &Stage, broker: &Broker) -> Result<Simulator, Failure> {
        let mut command = command("demo-simulator")?;
        command.args(["--partitions", &PARTITIONS.to_string()]);
        settings_for(&mut command, stage, broker);
        command.stderr(Stdio::inherit());
        Ok(Simulator { child: spawn(command, "simulator")? })
    }

    /// Records that each partition will hold; waits until the log has been played.
    pub fn counts(&mut self) -> Result<Vec<u64>, Failure> {
        let mut line = String::new();
        if let Some(stdout) = self.child.0.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(|error| Exit::Io.because(error))?;
        }
        serde_json::from_str(&line).map_err(|_| Exit::Bug.because("the simulator ended without a log"))
    }

    pub fn end(&mut self) -> Result<(), Failure> {
        let status = self.child.0.wait().map_err(|error| Exit::Io.because(error))?;
        if status.success() { Ok(()) } else { Err(Exit::Bug.because(format!("the simulator failed: {status}"))) }
    }
}

/// A `replay` over the log while it is written.
pub struct Learner {
    child: Guarded,
    news: Receiver<Value>,
    complaints: Option<JoinHandle<String>>,
    answer: Option<JoinHandle<String>>,
}

impl Learner {
    pub fn start(stage: &Stage, broker: &Broker, counts: &[u64], state: &Path) -> Result<Learner, Failure> {
        let ends: Vec<String> =
            (0..).zip(counts).map(|(partition, count): (u32, _)| format!("{partition}:{count}")).collect();
        let mut command = command("replay")?;
        command.arg("--state").arg(state).args(["--json", "--machine-progress"]);
        command.args(["--from", "earliest", "--until", &format!("offset={}", ends.join(",")), "--wait"]);
        settings_for(&mut command, stage, broker);
        command.stderr(Stdio::piped());
        let mut child = spawn(command, "learner")?;
        let (sender, news) = channel();
        let complaints = child.0.stderr.take().map(|stderr| {
            thread::spawn(move || {
                listen(stderr, &mut |status| {
                    // Nobody may listen any more.
                    let _ = sender.send(status);
                })
            })
        });
        let answer = child.0.stdout.take().map(|stdout| thread::spawn(move || read_all(stdout)));
        Ok(Learner { child, news, complaints, answer })
    }

    pub fn news(&self) -> Vec<Value> {
        self.news.try_iter().collect()
    }

    /// What it said before it ended, to the last word.
    pub fn last_news(&mut self) -> Vec<Value> {
        if let Some(complaints) = self.complaints.take() {
            // A thread that panicked has nothing more to say.
            let _ = complaints.join();
        }
        self.news()
    }

    /// SIGKILL: no destructor runs, no buffer is flushed.
    pub fn kill(&mut self) {
        let _ = self.child.0.kill();
        let _ = self.child.0.wait();
    }

    /// Its report, when it has ended well.
    pub fn finished(&mut self) -> Result<Option<Value>, Failure> {
        let Some(status) = self.child.0.try_wait().map_err(|error| Exit::Io.because(error))? else { return Ok(None) };
        let said =
            |thread: Option<JoinHandle<String>>| thread.and_then(|thread| thread.join().ok()).unwrap_or_default();
        let (answer, complaints) = (said(self.answer.take()), said(self.complaints.take()));
        if !status.success() {
            return Err(Exit::Bug.because(format!("the learner failed ({status}): {complaints}")));
        }
        serde_json::from_str(&answer).map(Some).map_err(|error| Exit::Bug.because(error))
    }
}

/// Passes status lines on and gives back the rest.
fn listen(stderr: ChildStderr, pass_on: &mut dyn FnMut(Value)) -> String {
    let mut rest = String::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        match line.strip_prefix(MACHINE_PREFIX).map(serde_json::from_str) {
            Some(Ok(status)) => pass_on(status),
            Some(Err(_)) | None => {
                rest.push_str(&line);
                rest.push('\n');
            }
        }
    }
    rest
}

fn read_all(mut stdout: ChildStdout) -> String {
    let mut text = String::new();
    // What cannot be read is not the report, which is then missed by name.
    let _ = stdout.read_to_string(&mut text);
    text
}
