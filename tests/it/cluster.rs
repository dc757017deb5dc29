//! Three Apache Kafka brokers, each on an address of its own, for what one broker cannot show.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::broker::{COMMON, cluster_id, data_directory, format_storage_as, free_port, java};
use crate::processes::spawn_tied;

const NODES: usize = 3;
const ATTEMPTS: u32 = 3;
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// Stops when dropped.
pub struct Cluster {
    nodes: Vec<Option<Child>>,
    ports: [u16; NODES],
    directory: tempfile::TempDir,
}

impl Cluster {
    pub fn start() -> Cluster {
        // Other tests look for free ports at the same time.
        (0..ATTEMPTS).find_map(|_| Cluster::attempt()).expect("a cluster starts")
    }

    /// The addresses of all three, of those that were killed as well.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> = (0..NODES).map(|node| format!("{}:{}", host(node), self.ports[node])).collect();
        addresses.join(",")
    }

    /// Ends the leader of a partition without a word (SIGKILL); says which node that was.
    pub fn kill_leader(&mut self, topic: &str, partition: i32) -> i32 {
        let leader = self.leader(topic, partition);
        let mut node = self.nodes[leader as usize - 1].take().expect("the leader lives");
        node.kill().unwrap();
        node.wait().unwrap();
        leader
    }

    pub fn leader(&self, topic: &str, partition: i32) -> i32 {
        let metadata = self.client().fetch_metadata(Some(topic), READY_TIMEOUT).unwrap();
        let partitions = metadata.topics()[0].partitions();
        partitions.iter().find(|found| found.id() == partition).unwrap().leader()
    }

    fn attempt() -> Option<Cluster> {
        let directory = data_directory();
        let ports = [free_port(), free_port(), free_port()];
        let controllers = [free_port(), free_port(), free_port()];
        let id = cluster_id(directory.path());
        let mut cluster = Cluster { nodes: Vec::new(), ports, directory };
        for (node, port) in ports.into_iter().enumerate() {
            let own = cluster.directory.path().join(format!("node-{node}"));
            fs::create_dir(&own).unwrap();
            write_properties(&own, node, port, &controllers);
            format_storage_as(&own, &id);
            cluster.nodes.push(Some(launch(&own)));
        }
        cluster.is_ready().then_some(cluster)
    }

    fn is_ready(&mut self) -> bool {
        let (begun, client) = (Instant::now(), self.client());
        while begun.elapsed() < READY_TIMEOUT {
            if self.nodes.iter_mut().flatten().any(|node| node.try_wait().unwrap().is_some()) {
                return false;
            }
            let answer = client.fetch_metadata(None, Duration::from_millis(300));
            if answer.is_ok_and(|metadata| metadata.brokers().len() == NODES) {
                return true;
            }
        }
        panic!("three brokers were not ready within {READY_TIMEOUT:?}; the first one's log:\n{}", self.log(0));
    }

    fn log(&self, node: usize) -> String {
        fs::read_to_string(self.directory.path().join(format!("node-{node}/broker.log"))).unwrap_or_default()
    }

    fn client(&self) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap()).set("reconnect.backoff.max.ms", "100");
        config.set("log_level", "0").create().unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in self.nodes.iter_mut().flatten() {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

/// Addresses of their own make three brokers look like three machines to a client.
fn host(node: usize) -> String {
    format!("127.0.0.{}", node + 1)
}

fn launch(directory: &Path) -> Child {
    let log = fs::File::create(directory.join("broker.log")).unwrap();
    let mut command = java();
    // There are three of them, on machines that may have two cores and little memory.
    command.args(["-Xmx256m", "-Xms64m", "kafka.Kafka", "server.properties"]).current_dir(directory);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    spawn_tied(command).unwrap()
}

fn write_properties(directory: &Path, node: usize, port: u16, controllers: &[u16; NODES]) {
    let voter = |(node, port): (usize, &u16)| format!("{}@{}:{port}", node + 1, host(node));
    let voters: Vec<String> = controllers.iter().enumerate().map(voter).collect();
    let (host, controller) = (host(node), controllers[node]);
    let properties = format!(
        "process.roles=broker,controller
node.id={}
controller.quorum.voters={}
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={}
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=1
{COMMON}",
        node + 1,
        voters.join(","),
        directory.join("data").display()
    );
    fs::write(directory.join("server.properties"), properties).unwrap();
}
