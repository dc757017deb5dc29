//! A broker inside this process, for demos and for trying things out: librdkafka's mock cluster behind real sockets.
//!
//! It keeps about 5 MiB per partition and forgets everything when its process ends, so it runs in a process of its own
//! that outlives the learners it serves. It knows neither transactions nor times of records.

use rdkafka::bindings::{rd_kafka_handle_mock_cluster, rd_kafka_mock_group_initial_rebalance_delay_ms};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer};

use super::error::KafkaError;

/// By default a group's first member waits three seconds for others.
const REBALANCE_DELAY_MS: i32 = 100;

/// Runs until it is dropped.
pub struct Broker {
    /// The client that owns the cluster.
    client: BaseProducer<DefaultProducerContext>,
}

impl Broker {
    /// Starts a broker on a free port of 127.0.0.1, with topics and their counts of partitions.
    pub fn start(topics: &[(&str, u32)]) -> Result<Broker, KafkaError> {
        let mut config = ClientConfig::new();
        config.set("test.mock.num.brokers", "1");
        let client: BaseProducer =
            config.create().map_err(|error| KafkaError::Embedded(format!("no mock cluster: {error}")))?;
        let broker = Broker { client };
        broker.set_rebalance_delay()?;
        for (topic, partitions) in topics {
            broker.create_topic(topic, *partitions)?;
        }
        Ok(broker)
    }

    /// `host:port`, for other processes as well.
    pub fn bootstrap_servers(&self) -> Result<String, KafkaError> {
        let cluster = self.client.client().mock_cluster();
        let cluster = cluster.ok_or_else(|| KafkaError::Embedded("it has gone".to_owned()))?;
        Ok(cluster.bootstrap_servers())
    }

    /// The mock broker does not take this request over the wire.
    pub fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), KafkaError> {
        let cluster = self.client.client().mock_cluster();
        let cluster = cluster.ok_or_else(|| KafkaError::Embedded("it has gone".to_owned()))?;
        let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
        let created = cluster.create_topic(topic, partitions, 1);
        created.map_err(|error| KafkaError::Embedded(format!("topic `{topic}` was refused: {error}")))
    }

    fn set_rebalance_delay(&self) -> Result<(), KafkaError> {
        // SAFETY: the handle belongs to the client, which lives as long as `self`; the setter takes the cluster's lock.
        #[expect(unsafe_code, reason = "the safe interface has no setter for the delay")]
        unsafe {
            let cluster = rd_kafka_handle_mock_cluster(self.client.client().native_ptr());
            if cluster.is_null() {
                return Err(KafkaError::Embedded("the client has no mock cluster".to_owned()));
            }
            rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, REBALANCE_DELAY_MS);
        }
        Ok(())
    }
}

/// Ends this process when its parent ends, so that no broker outlives a demo that was killed.
///
/// The kernel watches the parent's *thread* that started this process: it must be one that stays.
/// `false` if the parent is gone already, or if this system cannot do it.
#[cfg(target_os = "linux")]
pub fn die_with_parent(parent: u32) -> bool {
    // SAFETY: two system calls without pointers.
    #[expect(unsafe_code, reason = "there is no safe interface to prctl in our dependencies")]
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            return false;
        }
        // The parent may have died before the signal was asked for.
        u32::try_from(libc::getppid()).is_ok_and(|found| found == parent)
    }
}

#[cfg(not(target_os = "linux"))]
pub fn die_with_parent(_parent: u32) -> bool {
    false
}
