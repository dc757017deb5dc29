//! The command line: each command joins the parts, runs them, and says what came of it.

pub mod args;
mod plan;
mod progress;
mod tally;
mod replay;
mod run;
mod load;
mod check;
mod evaluate;
mod inspect;
mod publish;
mod recommend;
mod verify;
mod simulate;
mod config;
mod bench;
mod broker;
mod demo;
mod experiment;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use args::{Command, LogFormat};

use crate::exit::{Exit, Failure, end_on_panic};
use crate::settings::{self, Settings};
use crate::telemetry::{self, LogForm};

/// The whole program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    end_on_panic();
    let arguments = match args::parse(arguments) {
        Ok(arguments) => arguments,
        Err(exit) => return exit.into(),
    };
    let form = match arguments.logging.log_format {
        LogFormat::Text => LogForm::Text,
        LogFormat::Json => LogForm::Json,
    };
    if let Err(error) = telemetry::install_logs(&arguments.logging.log, form) {
        return Exit::Usage.because(error).print();
    }
    match dispatch(arguments.command) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.print(),
    }
}

fn dispatch(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Replay(arguments) => replay::replay(&arguments),
        Command::Load(arguments) => load::load(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Evaluate(arguments) => evaluate::evaluate(&arguments),
        Command::Export(arguments) => publish::export(&arguments),
        Command::Publish(arguments) => publish::publish(&arguments),
        Command::Recommend(arguments) => recommend::recommend(&arguments),
        Command::Inspect(arguments) => inspect::inspect(&arguments),
        Command::Experiment(arguments) => experiment::experiment(&arguments),
        Command::Simulate(arguments) => simulate::simulate(&arguments),
        Command::Config(arguments) => config::config(&arguments),
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::BenchStage(arguments) => bench::bench_stage(&arguments),
        Command::DemoBroker(arguments) => broker::demo_broker(&arguments),
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::DemoSimulator(arguments) => demo::demo_simulator(&arguments),
        Command::VerifyResume(arguments) => verify::verify(&arguments),
    }
}

/// The settings that a command was given.
fn settings_from(given: &args::SettingsFrom) -> Result<Settings, Failure> {
    settings::load(given.config.as_deref(), &given.set).map_err(|error| error.exit().because(error))
}

/// One JSON object on standard output; everything else goes to standard error.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    print_text(&serde_json::to_string_pretty(value).map_err(|error| Exit::Bug.because(error))?)
}

/// What a command says, on standard output. A reader that has seen enough of it (`| head`) is no failure.
fn print_text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Exit::Io.because(format!("could not write to standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
