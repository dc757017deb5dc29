//! A one-node Apache Kafka for the tests, started from plain jars.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::processes::spawn_tied;

/// A clash of ports is seen only when the broker fails to start; then other ports are tried.
const ATTEMPTS: u32 = 5;
const READY_TIMEOUT: Duration = Duration::from_secs(180);

/// Stops when dropped.
pub struct Broker {
    child: Option<Child>,
    directory: tempfile::TempDir,
    port: u16,
}

/// The broker that all tests share which do not stop it. Topics must have names of their own: see [`unique`].
pub fn shared() -> &'static Broker {
    static SHARED: OnceLock<Broker> = OnceLock::new();
    SHARED.get_or_init(Broker::start)
}

/// A name that no other test of any run uses.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A port that nobody listens on at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Broker {
    pub fn start() -> Broker {
        Broker::start_with(|| (0, String::new()))
    }

    /// A broker that wants a name and a password on a second port, which is returned as well. User `bob` has `secret`.
    pub fn start_with_passwords() -> (Broker, String) {
        let mut second = 0;
        let broker = Broker::start_with(|| {
            second = free_port();
            let login = "org.apache.kafka.common.security.plain.PlainLoginModule";
            let lines = [
                "sasl.enabled.mechanisms=PLAIN".to_owned(),
                format!("listener.name.sasl.plain.sasl.jaas.config={login} required user_bob=\"secret\";"),
            ];
            (second, lines.join("\n"))
        });
        (broker, format!("127.0.0.1:{second}"))
    }

    /// `more` gives a port for a listener with passwords, 0 for none, and further lines of properties.
    fn start_with(mut more: impl FnMut() -> (u16, String)) -> Broker {
        for _ in 0..ATTEMPTS {
            let directory = data_directory();
            let port = free_port();
            write_properties(directory.path(), (port, free_port()), more());
            format_storage(directory.path());
            let mut broker = Broker { child: None, directory, port };
            if broker.launch() {
                return broker;
            }
        }
        panic!("Kafka did not start in {ATTEMPTS} attempts");
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends the process without a word (SIGKILL). Ports and data stay.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again on the same ports and data.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.launch(), "Kafka did not come back; its log:\n{}", self.log());
    }

    /// What the broker wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("broker.log")).unwrap_or_default()
    }

    fn launch(&mut self) -> bool {
        let log = fs::File::create(self.directory.path().join("broker.log")).unwrap();
        let mut command = java();
        command.args(["kafka.Kafka", "server.properties"]).current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(spawn_tied(command).unwrap());
        let begun = Instant::now();
        let client = self.client();
        while begun.elapsed() < READY_TIMEOUT {
            if self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some()) {
                self.child = None;
                return false;
            }
            // An open port is not a broker yet: ask it something.
            let answer = client.fetch_metadata(None, Duration::from_millis(300));
            if answer.is_ok_and(|metadata| !metadata.brokers().is_empty()) {
                return true;
            }
        }
        panic!("Kafka was not ready within {READY_TIMEOUT:?}; its log:\n{}", self.log());
    }

    fn client(&self) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", format!("127.0.0.1:{}", self.port)).set("reconnect.backoff.max.ms", "100");
        // Refused connections are expected here and only fill the output.
        config.set("log_level", "0").create().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn java() -> Command {
    let java = std::env::var_os("JAVA_HOME").map_or(PathBuf::from("java"), |home| Path::new(&home).join("bin/java"));
    let mut command = Command::new(java);
    command.args(["-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(format!("{}/*", jars().display()));
    command
}

/// Asks the same script as `make test` does, once per run.
fn jars() -> &'static Path {
    static JARS: OnceLock<PathBuf> = OnceLock::new();
    JARS.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/fetch.sh");
        let output = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "{script} found no Kafka; it says above what to install");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

/// Under target/, with the owner's process id in its name: the shared broker's is not removed by its own run, since
/// nothing is dropped at the end of a test process, so the next run does it.
pub fn data_directory() -> tempfile::TempDir {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix("broker-")?.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    tempfile::Builder::new().prefix(&format!("broker-{}-", std::process::id())).tempdir_in(parent).unwrap()
}

fn format_storage(directory: &Path) {
    format_storage_as(directory, &cluster_id(directory));
}

/// Any 16 bytes in URL-safe base64 name a cluster; it must be another one for every cluster.
pub fn cluster_id(directory: &Path) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let hash = blake3::hash(directory.as_os_str().as_encoded_bytes());
    let mut id: String =
        hash.as_bytes()[..21].iter().map(|byte| char::from(alphabet[usize::from(byte % 64)])).collect();
    id.push('A');
    id.replace('-', "x")
}

pub fn format_storage_as(directory: &Path, id: &str) {
    let mut command = java();
    command.args(["kafka.tools.StorageTool", "format", "-t", id, "-c", "server.properties"]);
    let output = command.current_dir(directory).output().unwrap();
    assert!(output.status.success(), "could not format: {}", String::from_utf8_lossy(&output.stderr));
}

/// Of every broker of the tests. Their events are years old: with the default retention a broker would delete them half a
/// minute after its start, in the middle of a test.
pub const COMMON: &str = "\
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200
auto.create.topics.enable=false
log.retention.ms=-1
";

fn write_properties(directory: &Path, (port, controller_port): (u16, u16), (passwords_port, more): (u16, String)) {
    let passwords = match passwords_port {
        0 => String::new(),
        port => format!(",SASL://127.0.0.1:{port}"),
    };
    let logs = directory.join("data");
    let properties = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{passwords}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{passwords}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT
log.dirs={}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
{COMMON}{more}
",
        logs.display()
    );
    fs::write(directory.join("server.properties"), properties).unwrap();
}
