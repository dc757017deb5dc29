//! Raw settings into checked ones: the rules that concern more than one field, and the reading of secrets.
//!
//! A rule that is broken is noted and the rest is checked on, so that a person sees everything at once.

use std::collections::BTreeMap;

use toml::Value;

use super::layers::Leaf;
use super::problem::{Origin, Problem, shown};
use super::raw;
use super::secret::{MASK, Secret, is_secret_property};
use super::sections::{
    Baseline, ClientCertificate, Decisions, Filter, Kafka, Login, Sasl, SaslMechanism, Score, Security,
    SecurityProtocol, Settings,
};
use super::table::Setting;

/// librdkafka properties that would break a promise, or that have a setting of their own: the key and why.
const RESERVED: &[(&str, &str)] = &[
    ("bootstrap.servers", "set kafka.brokers instead"),
    ("metadata.broker.list", "set kafka.brokers instead"),
    ("group.id", "set kafka.group instead"),
    ("auto.offset.reset", "set kafka.start and kafka.retention_gap instead: a silent reset would skip records"),
    ("enable.auto.commit", "offsets are committed only after a seal that contains them"),
    ("enable.auto.offset.store", "offsets are committed only after a seal that contains them"),
    ("enable.partition.eof", "the end of a range is recognized by it"),
    ("enable.idempotence", "dead letters must not be doubled by a retry"),
    ("isolation.level", "aborted transactions must not be learned from"),
    ("check.crcs", "records that rot on the way must not be learned from"),
    ("security.protocol", "set kafka.security_protocol instead"),
    ("sasl.mechanism", "set kafka.sasl_mechanism instead"),
    ("sasl.mechanisms", "set kafka.sasl_mechanism instead"),
    ("sasl.username", "set kafka.username instead"),
    ("sasl.password", "set kafka.password instead, so that it stays out of the file"),
    ("ssl.ca.location", "set kafka.ca_file instead"),
    ("ssl.certificate.location", "set kafka.certificate_file instead"),
    ("ssl.key.location", "set kafka.key_file instead"),
    ("ssl.key.password", "set kafka.key_password instead, so that it stays out of the file"),
];

/// Units of a generation that wait for the network to learn from them.
const NETWORK_GENERATION_MAX: u64 = 100_000;

/// What checking needs besides the settings themselves: where each value came from, and the environment for secrets.
pub struct Checker<'a> {
    pub leaves: &'a BTreeMap<&'static str, Leaf>,
    pub environment: &'a BTreeMap<String, String>,
    pub problems: Vec<Problem>,
}

impl Checker<'_> {
    pub fn settings(&mut self, raw: raw::Settings, effective: super::Effective) -> Settings {
        self.filter(&raw.filter);
        self.score(&raw.score);
        self.pointer("catalog.item", &raw.catalog.item);
        self.pointer("catalog.embedding", &raw.catalog.embedding);
        Settings {
            kafka: self.kafka(raw.kafka),
            mapping: raw.mapping,
            catalog: raw.catalog,
            state: raw.state,
            time: raw.time,
            session: raw.session,
            reward: raw.reward,
            score: raw.score,
            filter: raw.filter,
            learner: raw.learner,
            validation: raw.validation,
            checkpoint: raw.checkpoint,
            dead_letters: raw.dead_letters,
            decode: raw.decode,
            merge: raw.merge,
            idle: raw.idle,
            http: raw.http,
            decisions: raw.decisions.unwrap_or(Decisions { file: None }),
            runtime: raw.runtime,
            simulate: raw.simulate,
            publish: raw.publish,
            serve: raw.serve,
            effective,
        }
    }

    fn score(&mut self, score: &Score) {
        if score.baseline == Baseline::Network && score.generation > NETWORK_GENERATION_MAX {
            self.refuse(
                "score.generation",
                format!("at most {NETWORK_GENERATION_MAX} with score.baseline = \"network\""),
                "lower it: the units of a generation are kept until it is full".into(),
            );
        }
    }

    fn filter(&mut self, filter: &Filter) {
        let units_min = 30.0_f64.max((3.0 / filter.kappa).ceil());
        if (filter.window as f64) < units_min {
            self.refuse(
                "filter.window",
                format!("at least {units_min} units for filter.kappa = {}: max(30, 3 / kappa)", filter.kappa),
                format!("set filter.window = {units_min} or more, or raise filter.kappa: else warming up never ends"),
            );
        }
    }

    fn pointer(&mut self, name: &str, pointer: &str) {
        if !pointer.starts_with('/') {
            let key = pointer.trim_start_matches('$').trim_start_matches('.').replace('.', "/");
            self.refuse(name, "a JSON Pointer (RFC 6901)".into(), format!("write {name} = \"/{key}\""));
        }
    }

    fn kafka(&mut self, raw: raw::Kafka) -> Kafka {
        if raw.brokers.is_empty() {
            let fix = "name one broker at least, as in kafka.brokers = [\"127.0.0.1:9092\"]";
            self.refuse("kafka.brokers", "at least one host:port".into(), fix.into());
        }
        if raw.topics.len() > 1 {
            let fix = "several topics are not built yet: keep one, or run one learner per topic";
            self.refuse("kafka.topics", "one topic".into(), fix.into());
        }
        for key in raw.properties.keys() {
            let found = RESERVED.iter().find(|(reserved, _)| reserved == key);
            if let Some((_, reason)) = found {
                let value =
                    raw.properties.get(key).map_or(String::new(), |text| Value::from(text.as_str()).to_string());
                let value = if is_secret_property(key) { MASK.to_owned() } else { value };
                self.problems.push(Problem {
                    name: format!("kafka.properties.{key}"),
                    value,
                    origin: self.origin("kafka.properties"),
                    accepted: "any librdkafka property that is not reserved".into(),
                    fix: format!("take it out: {reason}"),
                });
            }
        }
        let security = self.security(&raw);
        Kafka {
            brokers: raw.brokers,
            topics: raw.topics,
            group: raw.group,
            start: raw.start,
            retention_gap: raw.retention_gap,
            connect_timeout: raw.connect_timeout,
            security,
            properties: raw.properties,
        }
    }

    fn security(&mut self, raw: &raw::Kafka) -> Security {
        let client = match (&raw.certificate_file, &raw.key_file) {
            (Some(certificate_file), Some(key_file)) => Some(ClientCertificate {
                certificate_file: certificate_file.clone(),
                key_file: key_file.clone(),
                key_password: self.secret("kafka.key_password", raw.key_password.as_ref()),
            }),
            (Some(_), None) => {
                let fix = "set kafka.key_file too, or take kafka.certificate_file out";
                self.refuse("kafka.certificate_file", "a certificate together with its key".into(), fix.into());
                None
            }
            (None, Some(_)) => {
                let fix = "set kafka.certificate_file too, or take kafka.key_file out";
                self.refuse("kafka.key_file", "a key together with its certificate".into(), fix.into());
                None
            }
            (None, None) => None,
        };
        Security { protocol: raw.security_protocol, sasl: self.sasl(raw), ca_file: raw.ca_file.clone(), client }
    }

    fn sasl(&mut self, raw: &raw::Kafka) -> Option<Sasl> {
        let wanted = match raw.security_protocol {
            SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl => true,
            SecurityProtocol::Plaintext | SecurityProtocol::Ssl => false,
        };
        let mechanism = match (wanted, raw.sasl_mechanism) {
            (true, Some(mechanism)) => mechanism,
            (true, None) => {
                let fix = "set kafka.sasl_mechanism = \"SCRAM-SHA-512\", or what your brokers offer";
                self.refuse("kafka.security_protocol", "a SASL protocol together with a mechanism".into(), fix.into());
                return None;
            }
            (false, Some(_)) => {
                let fix = "set kafka.security_protocol = \"sasl_ssl\" too, or take kafka.sasl_mechanism out";
                self.refuse("kafka.sasl_mechanism", "a mechanism together with a SASL protocol".into(), fix.into());
                return None;
            }
            (false, None) => return None,
        };
        let password = self.secret("kafka.password", raw.password.as_ref());
        let login = match (mechanism, raw.username.clone(), password) {
            (_, Some(username), Some(password)) => Some(Login { username, password }),
            (SaslMechanism::OauthBearer, _, _) => None,
            (SaslMechanism::Plain | SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512, username, _) => {
                // A password that is there but cannot be read is a problem of its own, already noted.
                if username.is_none() || raw.password.is_none() {
                    let fix = "set kafka.username = \"NAME\" and kafka.password = { env = \"VARIABLE\" }";
                    self.refuse("kafka.sasl_mechanism", "a mechanism with a user and a password".into(), fix.into());
                }
                None
            }
        };
        Some(Sasl { mechanism, login })
    }

    fn secret(&mut self, name: &str, reference: Option<&Value>) -> Option<Secret> {
        match Secret::read(reference?, self.environment) {
            Ok(secret) => Some(secret),
            Err(fix) => {
                self.refuse(name, "a secret that can be read and is not empty".into(), fix);
                None
            }
        }
    }

    fn origin(&self, name: &str) -> Origin {
        self.leaves.get(name).map_or(Origin::Default, |leaf| leaf.origin.clone())
    }

    fn refuse(&mut self, name: &str, accepted: String, fix: String) {
        let value = match self.leaves.get(name) {
            Some(leaf) => shown(&leaf.value),
            None => Setting::named(name).and_then(|setting| setting.default).unwrap_or("(not set)").to_owned(),
        };
        self.problems.push(Problem { name: name.to_owned(), value, origin: self.origin(name), accepted, fix });
    }
}
