//! Canonical values into typed fields. Only unit conversions: what is accepted was decided by [`super::kind`].

use std::net::SocketAddr;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::kind::{OFF, parse_length, parse_size};
use super::sections::{ReplayRatio, Tilt};
use crate::time::Span;

pub fn length<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_length(&text).ok_or_else(|| D::Error::custom(format!("{text} is not a length of time")))
}

pub fn length_or_off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == OFF {
        return Ok(None);
    }
    parse_length(&text).map(Some).ok_or_else(|| D::Error::custom(format!("{text} is not a length of time")))
}

pub fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    length(deserializer).map(Span::from_duration)
}

pub fn span_or_off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Span>, D::Error> {
    Ok(length_or_off(deserializer)?.map(Span::from_duration))
}

pub fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_size(&text).ok_or_else(|| D::Error::custom(format!("{text} is not a size")))
}

pub fn positive_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Some(u64::deserialize(deserializer)?).filter(|count| *count > 0))
}

pub fn address_or_off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == OFF {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| D::Error::custom(format!("{text} is not an address")))
}

pub fn number_or_off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    number_or(deserializer, OFF)
}

pub fn replay_ratio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ReplayRatio, D::Error> {
    Ok(number_or_auto(deserializer)?.map_or(ReplayRatio::Auto, ReplayRatio::Fixed))
}

pub fn tilt<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tilt, D::Error> {
    Ok(number_or_auto(deserializer)?.map_or(Tilt::Auto, Tilt::Fixed))
}

/// `None`: learned.
pub fn sigma<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    number_or(deserializer, "learned")
}

/// `None`: auto.
fn number_or_auto<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    number_or(deserializer, "auto")
}

/// `None`: the word.
fn number_or<'de, D: Deserializer<'de>>(deserializer: D, none: &str) -> Result<Option<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum NumberOrWord {
        Number(f64),
        Word(String),
    }
    match NumberOrWord::deserialize(deserializer)? {
        NumberOrWord::Number(number) => Ok(Some(number)),
        NumberOrWord::Word(word) if word == none => Ok(None),
        NumberOrWord::Word(word) => Err(D::Error::custom(format!("{word} is neither a number nor \"{none}\""))),
    }
}
