//! `config`: which settings there are, and which are in force.

use super::{args, plan, print_json, print_text};
use crate::exit::{Exit, Failure};
use crate::settings::{self, SettingsError, Sources};

pub fn config(command: &args::Config) -> Result<Exit, Failure> {
    let refused = |error: SettingsError| error.exit().because(error);
    match command {
        args::Config::Schema => print_json(&settings::schema())?,
        args::Config::Show { settings: given, json } => {
            let sources = Sources::of_process(given.config.as_deref(), &given.set).map_err(refused)?;
            // The table of settings does not know what a mapping may hold.
            plan::decoder(&settings::read(&sources).map_err(refused)?)?;
            if *json {
                print_json(&settings::shown(&sources).map_err(refused)?)?;
            } else {
                print_text(&settings::show(&sources).map_err(refused)?)?;
            }
        }
    }
    Ok(Exit::Success)
}
