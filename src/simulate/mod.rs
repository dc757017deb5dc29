//! A world with a known right answer, and a log that somebody else's recommenders left in it.
//!
//! On real logs nobody knows how good a policy could have been. Here every person has a hidden taste, a direction
//! `u*(x)` that depends on the context `x`, and an item pays the more the closer its embedding lies to that direction.
//! Three recommenders of very different quality write the log: an *expert* who knows the taste, a *popular* one that
//! pulls everybody toward the same fashion, and a *random* one. A learner that only reads the log has to find the few
//! good sessions in it, and [`World::rollout`] then measures, in the world itself, what its policy is worth.
//!
//! * [`settings`]: every constant, in one struct.
//! * [`world`]: catalogue, taste, reward.
//! * [`logger`]: the three recommenders as proper distributions over the catalogue.
//! * [`session`]: what happens to one person in one visit.
//! * [`cu1`]: another world, of one small control problem; its mathematics are also what the experiment of that name trains on.
//! * [`record`]: its records, repeated and broken ones among them.
//! * [`events`]: the visits of many people as one stream of JSON records, with delays, repeats and rubbish.
//! * [`measure`]: the return of a policy, with an interval.
//!
//! Everything is a function of the settings: no clock, no shared generator. Session `n` draws from its own generator,
//! seeded by the world's seed and `n`, so a session is the same whatever else was asked of the world before.

pub mod settings;
pub mod world;
pub mod logger;
pub mod session;
pub mod cu1;
pub mod record;
pub mod events;
pub mod measure;
mod seed;

pub use cu1::Cu1;
pub use events::Events;
pub use logger::Logger;
pub use measure::{Actor, Choice, MeasuredReturn, Trial};
pub use record::{Audience, Record};
pub use session::{Action, Session, SimulatedStep};
pub use settings::{RawSimulateSettings, Regime, SimulateSettings, SimulateSettingsError, WorldKind};
pub use world::World;

#[cfg(test)]
mod cu1_tests;
#[cfg(test)]
mod tests;
