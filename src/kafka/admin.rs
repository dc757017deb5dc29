//! Making topics, and deleting them.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::types::RDKafkaErrorCode;

use super::client::{Connection, Ear, refused};
use super::error::{Complaint, KafkaError};
use super::reader::consumer;

/// How many partitions the topic has; `None` if there is no such topic.
pub(super) fn partitions(connection: &Connection, topic: &str) -> Result<Option<u32>, KafkaError> {
    let consumer = consumer(connection, "sluicebox")?;
    let serve = || drop(consumer.poll(Duration::ZERO));
    connection.partitions_of(topic, consumer.client(), &serve)
}

/// How many partitions the topic has; one that is missing is made with `partitions`.
pub fn ensure_topic(connection: &Connection, topic: &str, partitions: u32) -> Result<u32, KafkaError> {
    match self::partitions(connection, topic)? {
        Some(found) => Ok(found),
        None => create_topic(connection, topic, partitions).map(|_| partitions),
    }
}

/// Makes the topic if it is missing. `Ok(false)`: it was there, with that many partitions.
///
/// A new topic keeps its records for ever and takes any record time: record time is event time here, and by Kafka's
/// defaults a month-old log would be deleted minutes after it was loaded.
pub fn create_topic(connection: &Connection, topic: &str, partitions: u32) -> Result<bool, KafkaError> {
    match self::partitions(connection, topic)? {
        Some(found) if found == partitions => return Ok(false),
        Some(found) => return Err(KafkaError::PartitionCount { topic: topic.to_owned(), found, wanted: partitions }),
        None => {}
    }
    let failed = failed(format!("create the topic `{topic}` with {partitions} partitions"));
    // Replication -1 is the broker's own default, so one broker and a cluster of three both get what they are set to.
    let wanted = NewTopic::new(topic, i32::try_from(partitions).unwrap_or(i32::MAX), TopicReplication::Fixed(-1))
        .set("retention.ms", "-1")
        .set("message.timestamp.type", "CreateTime")
        .set("message.timestamp.after.max.ms", "9223372036854775807");
    let admin = Admin::new(connection)?;
    let results = admin.runtime.block_on(admin.client.create_topics([&wanted], &admin.options)).map_err(&failed)?;
    for result in results {
        match result {
            Ok(_) => {}
            // Somebody else was faster; what they made is checked like one that was there before.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => return create_topic(connection, topic, partitions),
            Err((_, code)) => return Err(failed(rdkafka::error::KafkaError::AdminOp(code))),
        }
    }
    Ok(true)
}

pub fn delete_topic(connection: &Connection, topic: &str) -> Result<(), KafkaError> {
    let failed = failed(format!("delete the topic `{topic}`"));
    let admin = Admin::new(connection)?;
    let results = admin.runtime.block_on(admin.client.delete_topics(&[topic], &admin.options)).map_err(&failed)?;
    let refused = results.into_iter().find_map(Result::err);
    refused.map_or(Ok(()), |(_, code)| Err(failed(rdkafka::error::KafkaError::AdminOp(code))))
}

/// A client for a request or two.
struct Admin {
    client: AdminClient<Ear>,
    options: AdminOptions,
    runtime: tokio::runtime::Runtime,
}

impl Admin {
    fn new(connection: &Connection) -> Result<Admin, KafkaError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        Ok(Admin {
            client: connection.config()?.create_with_context(Ear::default()).map_err(refused)?,
            options: AdminOptions::new().operation_timeout(Some(connection.connect_timeout)),
            runtime: runtime
                .map_err(|error| KafkaError::Settings(format!("no runtime for an admin request: {error}")))?,
        })
    }
}

fn failed(attempt: String) -> impl Fn(rdkafka::error::KafkaError) -> KafkaError {
    move |source| {
        let (source, complaint) = (Box::new(source), Complaint::default());
        KafkaError::Failed { attempt: attempt.clone(), source, complaint }
    }
}
