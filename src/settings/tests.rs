//! What a person may rely on when writing settings.

use std::path::PathBuf;

use super::*;
use crate::exit::Exit;
use crate::time::Span;

fn sources(file: &str, environment: &[(&str, &str)], assignments: &[&str]) -> Sources {
    Sources {
        file: Some((PathBuf::from("my.toml"), file.to_owned())),
        environment: environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
        assignments: assignments.iter().map(|text| (*text).to_owned()).collect(),
        swept: Vec::new(),
    }
}

fn accepted(file: &str, environment: &[(&str, &str)], assignments: &[&str]) -> Settings {
    match read(&sources(file, environment, assignments)) {
        Ok(settings) => settings,
        Err(error) => panic!("{file} {environment:?} {assignments:?}: {error}"),
    }
}

/// The only problem of these settings.
fn problem(file: &str, environment: &[(&str, &str)], assignments: &[&str]) -> Problem {
    match read(&sources(file, environment, assignments)) {
        Ok(_) => panic!("{file} {environment:?} {assignments:?} is accepted"),
        Err(error) => match error.problems() {
            [problem] => problem.clone(),
            _ => panic!("not one problem: {error}"),
        },
    }
}

fn set(assignment: &str) -> Problem {
    problem("", &[], &[assignment])
}

#[test]
fn without_a_word_every_setting_has_its_documented_default() {
    let settings = read(&Sources::default()).expect("defaults");
    assert_eq!(settings.filter.kappa, 0.1);
    assert_eq!(settings.filter.window, 20_000);
    assert_eq!(settings.session.gap, Span::from_millis(1_800_000));
    assert_eq!(settings.session.max_duration, Some(Span::from_millis(86_400_000)));
    assert_eq!(settings.session.max_bytes_per_partition, 256 << 20);
    assert_eq!(settings.filter.max_age, None);
    assert_eq!(settings.learner.replay_ratio, ReplayRatio::Auto);
    assert_eq!(settings.checkpoint.every_records, None);
    assert_eq!(settings.decisions.file, None);
    assert_eq!(settings.http.listen, "127.0.0.1:8077".parse().ok());
    assert!(settings.runtime.lane_threads() >= 1);
}

#[test]
fn the_command_line_beats_the_environment_beats_the_file_beats_the_default() {
    let file = "[filter]\nkappa = 0.2\n";
    let environment = [("SLUICEBOX__FILTER__KAPPA", "0.3")];
    assert_eq!(accepted("", &[], &[]).filter.kappa, 0.1);
    assert_eq!(accepted(file, &[], &[]).filter.kappa, 0.2);
    assert_eq!(accepted(file, &environment, &[]).filter.kappa, 0.3);
    assert_eq!(accepted(file, &environment, &["filter.kappa=0.4"]).filter.kappa, 0.4);
    assert_eq!(accepted(file, &environment, &["filter.kappa=0.4", "filter.kappa = .5"]).filter.kappa, 0.5);
}

#[test]
fn an_override_is_a_toml_value_or_else_a_text() {
    let settings = accepted(
        "",
        &[("SLUICEBOX__KAFKA__GROUP", "42"), ("SLUICEBOX__STATE__HISTORY__LENGTH", "7"), ("SLUICEBOX_OTHER", "x")],
        &[
            "kafka.topics=events",
            "learner.hidden=[64, 64]",
            "session.gap=5m",
            "score.kind=return",
            "catalog.file=\"a b\"",
        ],
    );
    assert_eq!(settings.kafka.group, "42");
    assert_eq!(settings.state.history.length, 7);
    assert_eq!(settings.kafka.topics, ["events"]);
    assert_eq!(settings.learner.hidden, [64, 64]);
    assert_eq!(settings.session.gap, Span::from_millis(300_000));
    assert_eq!(settings.score.kind, ScoreKind::Return);
    assert_eq!(settings.catalog.file, Some(PathBuf::from("a b")));
    let brokers = accepted("", &[("SLUICEBOX__KAFKA__BROKERS", "a:1, b:2")], &[]).kafka.brokers;
    assert_eq!(brokers, ["a:1", "b:2"]);
}

#[test]
fn an_override_cannot_smuggle_in_a_second_setting() {
    let group = accepted("", &[("SLUICEBOX__KAFKA__GROUP", "\"a\"\nkappa = 1")], &[]).kafka.group;
    assert_eq!(group, "\"a\"\nkappa = 1");
}

#[test]
fn decimal_numbers_may_begin_with_the_point() {
    assert_eq!(accepted("", &[], &["filter.kappa=.25"]).filter.kappa, 0.25);
}

#[test]
fn tables_of_others_are_merged_key_by_key() {
    let settings = accepted(
        "[kafka.properties]\nfetch.wait.max.ms = 50\n\"queued.max.messages.kbytes\" = 4096\n[mapping.user]\npointer = '/u'\n",
        &[("SLUICEBOX__KAFKA__PROPERTIES__FETCH_WAIT_MAX_MS", "70")],
        &["kafka.properties.client.id=me", "mapping.user.default=nobody", "mapping.kinds.\"a.b\"=decision"],
    );
    let properties: Vec<(&str, &str)> =
        settings.kafka.properties.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
    let expected = [("client.id", "me"), ("fetch.wait.max.ms", "70"), ("queued.max.messages.kbytes", "4096")];
    assert_eq!(properties, expected);
    assert_eq!(settings.mapping["user"]["pointer"].as_str(), Some("/u"));
    assert_eq!(settings.mapping["user"]["default"].as_str(), Some("nobody"));
    assert_eq!(settings.mapping["kinds"]["a.b"].as_str(), Some("decision"));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_likely_name() {
    let found = problem("# mine\n[session]\ngap = \"1h\"\n\n[filter]\nkapa = 0.1\n", &[], &[]);
    assert_eq!(found.name, "filter.kapa");
    assert_eq!(found.value, "0.1");
    assert_eq!(found.origin.to_string(), "my.toml, line 6");
    assert_eq!(found.fix, "did you mean filter.kappa?");

    let found = problem("[fitler]\nkappa = 0.1\n", &[], &[]);
    assert_eq!((found.name.as_str(), found.fix.as_str()), ("fitler.kappa", "did you mean filter.kappa?"));
    let found = problem("", &[("SLUICEBOX__LEARNER__KAPPA", "1")], &[]);
    assert_eq!(found.origin.to_string(), "environment variable SLUICEBOX__LEARNER__KAPPA");
    assert_eq!(found.fix, "did you mean filter.kappa?");
    assert_eq!(set("filter.kappa.deeper=1").name, "filter.kappa.deeper");
    assert!(set("score.something_else=1").fix.contains("[score] has kind, discount"));
    assert!(set("nothing=1").fix.contains("sluicebox config schema"));
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_its_line() {
    let error = read(&sources("[filter]\nkappa = = 1\n", &[], &[])).expect_err("not TOML");
    assert!(error.to_string().starts_with("my.toml is not TOML: line 2: "), "{error}");
    assert_eq!(error.exit(), Exit::Config);
    let error = read(&sources("[filter]\nkappa = .1\nkappa = .2\n", &[], &[])).expect_err("twice");
    assert!(error.to_string().contains("my.toml is not TOML"), "{error}");
    let error = load(Some(Path::new("/nowhere/at/all.toml")), &[]).expect_err("no such file");
    assert!(error.to_string().contains("/nowhere/at/all.toml"), "{error}");
}

#[test]
fn an_assignment_without_an_equals_sign_is_a_wrong_command_line() {
    for written in ["filter.kappa", "=3", "a b=3", "filter.kappa[0]=1"] {
        let error = read(&sources("", &[], &[written])).expect_err(written);
        assert_eq!(error.exit(), Exit::Usage, "{written}");
        assert!(error.to_string().contains(written), "{error}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let error = read(&sources("[filter]\nkappa = 2\nwindw = 1\n[session]\ngap = 30\n", &[], &[])).expect_err("wrong");
    let names: Vec<&str> = error.problems().iter().map(|problem| problem.name.as_str()).collect();
    assert_eq!(names, ["filter.kappa", "filter.windw", "session.gap"]);
    let text = error.to_string();
    assert!(text.starts_with("3 settings are wrong\n"), "{text}");
    assert!(
        text.contains("filter.kappa = 2 (my.toml, line 2)\n    accepted: a number above 0 and at most 1"),
        "{text}"
    );
}

#[test]
fn a_refused_value_comes_with_what_is_accepted_and_what_to_do() {
    let cases = [
        ("filter.kappa=0", "a number above 0 and at most 1", "for example filter.kappa = 0.1, the default"),
        ("filter.kappa=nan", "a number above 0 and at most 1", "for example"),
        ("filter.kappa=\"0.1\"", "a number above 0", "write it without quotes"),
        ("filter.window=2e4", "a whole number from 30 to 10000000", "write it without a decimal point"),
        ("filter.window=-5", "a whole number from 30", "for example filter.window = 20_000"),
        ("filter.max_silence=perhaps", "true or false", "for example"),
        ("learner.hidden=[]", "a list of 1 to 8 whole numbers", "for example learner.hidden = [128, 128]"),
        ("learner.hidden=[64, 0]", "whole numbers from 1 to 4096", "for example"),
        ("filter.kappa=much", "a number above 0", "for example filter.kappa = 0.1"),
        ("learner.replay_ratio=often", "\"auto\", or a number from 0 to 1024", "for example"),
        ("reward.clip=[3, 1]", "[low, high]", "put the lower end first"),
        ("reward.clip=[1]", "[low, high]", "take the line out"),
        ("session.gap=30", "a length of time from 1s to 30d", "say the unit, as in \"30s\""),
        ("session.gap=soon", "a length of time", "\"30s\""),
        ("session.gap=0", "from 1s", "for example session.gap = \"30m\""),
        ("session.gap=off", "a length of time", "write a number with its unit"),
        ("session.gap=1500us", "a length of time", "whole milliseconds"),
        ("session.max_duration=400days", "365d, or \"off\"", "for example"),
        ("decode.max_bytes=2GiB", "a size from 64B to 64MiB", "for example decode.max_bytes = \"1MiB\""),
        ("decode.max_bytes=many", "a size", "\"64MiB\""),
        ("kafka.group=\"\"", "a text", "not empty"),
        ("kafka.brokers=[1]", "a list of texts", "for example"),
        ("kafka.topics=[\"\"]", "a list of texts", "take the empty text out"),
        ("http.listen=8077", "an address", "127.0.0.1:8077"),
        (
            "score.kind=retrun",
            "one of \"advantage\", \"session_mean\", \"return\", \"reward\"",
            "did you mean \"return\"?",
        ),
        ("score.baseline=networks", "one of \"none\"", "did you mean \"network\"?"),
        ("mapping=3", "a table", "the default"),
        ("kafka.properties={ a = [1] }", "a table of texts", "give \"a\" as a text"),
    ];
    for (assignment, accepts, fix) in cases {
        let found = set(assignment);
        let (name, _) = assignment.split_once('=').expect("an assignment");
        assert_eq!(found.name, name);
        assert!(!found.value.is_empty(), "{assignment}");
        assert!(found.accepted.contains(accepts), "{assignment}: accepted is {}", found.accepted);
        assert!(found.fix.contains(fix), "{assignment}: fix is {}", found.fix);
    }
}

#[test]
fn rules_between_settings_are_checked() {
    let cases: [(&[&str], &str, &str); 9] = [
        (&["filter.kappa=0.001", "filter.window=2000"], "filter.window", "filter.window = 3000"),
        (&["kafka.topics=[\"a\", \"b\"]"], "kafka.topics", "several topics are not built yet"),
        (&["kafka.brokers=[]"], "kafka.brokers", "name one broker"),
        (&["kafka.security_protocol=sasl_ssl"], "kafka.security_protocol", "kafka.sasl_mechanism"),
        (&["kafka.sasl_mechanism=PLAIN"], "kafka.sasl_mechanism", "kafka.security_protocol"),
        (&["kafka.security_protocol=sasl_ssl", "kafka.sasl_mechanism=PLAIN"], "kafka.sasl_mechanism", "kafka.username"),
        (&["kafka.certificate_file=a.pem"], "kafka.certificate_file", "kafka.key_file"),
        (&["kafka.key_file=a.pem"], "kafka.key_file", "kafka.certificate_file"),
        (&["catalog.item=$.item.id"], "catalog.item", "\"/item/id\""),
    ];
    for (assignments, name, fix) in cases {
        let found = problem("", &[], assignments);
        assert_eq!(found.name, name, "{assignments:?}");
        assert!(found.fix.contains(fix), "{assignments:?}: fix is {}", found.fix);
    }
    accepted("", &[], &["filter.kappa=0.001", "filter.window=3000"]);
}

#[test]
fn reserved_properties_are_refused_with_the_reason() {
    let found = problem("[kafka.properties]\nenable.auto.commit = true\n", &[], &[]);
    assert_eq!(found.name, "kafka.properties.enable.auto.commit");
    assert_eq!(found.fix, "take it out: offsets are committed only after a seal that contains them");
    let found = set("kafka.properties.sasl.password=hunter2");
    assert!(!format!("{found}").contains("hunter2"), "{found}");
}

#[test]
fn a_command_that_needs_a_topic_says_how_to_name_one() {
    let error = accepted("", &[], &[]).kafka.topic().map(str::to_owned).expect_err("no topic");
    assert!(error.to_string().contains("--set kafka.topics=events"), "{error}");
    assert_eq!(accepted("", &[], &["kafka.topics=t"]).kafka.topic().ok(), Some("t"));
}

const LOGIN: &str =
    "[kafka]\nsecurity_protocol = \"sasl_ssl\"\nsasl_mechanism = \"SCRAM-SHA-512\"\nusername = \"ann\"\n";

fn password(settings: &Settings) -> Option<&str> {
    let login = settings.kafka.security.sasl.as_ref()?.login.as_ref()?;
    Some(login.password.reveal())
}

#[test]
fn secrets_come_from_the_environment_or_a_file_and_are_never_printed() {
    let by_name = format!("{LOGIN}password = {{ env = \"MY_PASSWORD\" }}\n");
    let environment = [("MY_PASSWORD", "hunter2")];
    let settings = accepted(&by_name, &environment, &[]);
    assert_eq!(password(&settings), Some("hunter2"));
    let shown = show(&sources(&by_name, &environment, &[])).expect("shown");
    assert!(!shown.contains("hunter2") && shown.contains("MY_PASSWORD"), "{shown}");
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert!(settings.effective.iter().all(|(_, value)| !value.contains("hunter2")));

    let file = tempfile::NamedTempFile::new().expect("temporary file");
    std::fs::write(file.path(), "correct horse \r\n").expect("written");
    let by_file = format!("{LOGIN}password = {{ file = {:?} }}\n", file.path());
    assert_eq!(password(&accepted(&by_file, &[], &[])), Some("correct horse "));

    let direct = accepted(LOGIN, &[("SLUICEBOX__KAFKA__PASSWORD", "hunter2")], &[]);
    assert_eq!(password(&direct), Some("hunter2"));
    assert!(direct.effective.iter().all(|(_, value)| !value.contains("hunter2")));
}

#[test]
fn a_secret_that_is_written_down_or_missing_is_refused_without_repeating_it() {
    let found = problem(&format!("{LOGIN}password = \"hunter2\"\n"), &[], &[]);
    assert_eq!(found.name, "kafka.password");
    assert!(found.fix.contains("keep secrets out of files"), "{found}");
    assert!(!format!("{found}").contains("hunter2"), "{found}");

    let found = problem(&format!("{LOGIN}password = {{ env = \"MY_PASSWORD\" }}\n"), &[], &[]);
    assert_eq!(
        (found.name.as_str(), found.fix.as_str()),
        ("kafka.password", "set the environment variable MY_PASSWORD")
    );
    let found = problem(&format!("{LOGIN}password = {{ env = \"E\" }}\n"), &[("E", "")], &[]);
    assert!(found.fix.contains("the secret is empty"), "{found}");
    let found = problem(&format!("{LOGIN}password = {{ file = \"/nowhere\" }}\n"), &[], &[]);
    assert!(found.fix.contains("/nowhere"), "{found}");
}

#[test]
fn what_is_shown_reads_back_to_the_same_settings() {
    let file = "[kafka]\ntopics = [\"t\"]\npassword = { env = \"P\" }\n[kafka.properties]\nclient.id = \"me\"\n\
                [mapping]\nuser = \"/u\"\n[mapping.kinds]\nclick = \"feedback\"\n[reward]\nclip = [-1, 2]\n[filter]\nmax_age = \"90days\"\n";
    let first = accepted(file, &[], &["decisions.file=d.jsonl", "merge.queue_max=5"]);
    let shown = show(&sources(file, &[], &["decisions.file=d.jsonl", "merge.queue_max=5"])).expect("shown");
    assert!(shown.contains("queue_max = 5 # --set\n"), "{shown}");
    assert!(shown.contains("topics = [\"t\"] # my.toml, line 2\n"), "{shown}");
    assert!(shown.contains("kappa = 0.1 # default\n"), "{shown}");
    assert_eq!(first, accepted(&shown, &[], &[]));
}

#[test]
fn what_is_shown_masks_secret_properties() {
    let file = "[kafka.properties]\nssl.keystore.password = \"hunter2\"\n";
    let shown = show(&sources(file, &[], &[])).expect("shown");
    assert!(!shown.contains("hunter2") && shown.contains(secret::MASK), "{shown}");
    let settings = accepted(file, &[], &[]);
    assert!(settings.effective.iter().all(|(_, value)| !value.contains("hunter2")));
    assert_eq!(settings.kafka.properties["ssl.keystore.password"], "hunter2");
}

#[test]
fn the_structural_digest_follows_meaning_not_spelling() {
    let digest = |assignments: &[&str]| accepted("", &[], assignments).structural_digest();
    let plain = digest(&[]);
    for same in ["session.gap=1800s", "score.discount=0.990", "filter.kappa=0.2", "checkpoint.keep=9", "kafka.group=g"]
    {
        assert_eq!(digest(&[same]), plain, "{same}");
    }
    for other in
        ["session.gap=31m", "score.discount=1", "learner.hidden=[128]", "mapping.user=\"/u\"", "decode.max_depth=5"]
    {
        assert_ne!(digest(&[other]), plain, "{other}");
    }
    assert_eq!(
        digest(&["mapping={ a = 1, b = { d = 1, c = 2 } }"]),
        digest(&["mapping={ b = { c = 2, d = 1 }, a = 1 }"])
    );
    assert_eq!(digest(&["mapping.rules=[{ a = 1, b = 2 }]"]), digest(&["mapping.rules=[{ b = 2, a = 1 }]"]));
    let learning = |assignments: &[&str]| accepted("", &[], assignments).effective.learning_digest();
    assert_ne!(learning(&["filter.kappa=0.2"]), learning(&[]));
    assert_eq!(learning(&["checkpoint.keep=9"]), learning(&[]));
}

#[test]
fn differences_name_the_field_and_what_changing_it_means() {
    let old = accepted("[mapping.user]\npointer = \"/u\"\n", &[], &[]).effective;
    let changed = [
        "filter.kappa=0.2",
        "session.gap=1h",
        "checkpoint.keep=9",
        "mapping.user.pointer=\"/v\"",
        "reward.clip=[0, 1]",
    ];
    let new = accepted("[mapping.user]\npointer = \"/u\"\n", &[], &changed).effective;
    let found: Vec<(String, Class)> =
        differences(&old, &new).into_iter().map(|found| (found.name, found.class)).collect();
    let expected = [
        ("checkpoint.keep", Class::Operational),
        ("filter.kappa", Class::Tunable),
        ("mapping.user.pointer", Class::Structural),
        ("reward.clip", Class::Tunable),
        ("session.gap", Class::Structural),
    ];
    assert_eq!(found, expected.map(|(name, class)| (name.to_owned(), class)));
    let gap = &differences(&old, &new)[4];
    assert_eq!((gap.before.as_deref(), gap.after.as_deref()), (Some("\"30m\""), Some("\"1h\"")));
    assert!(differences(&old, &old).is_empty());
}

#[test]
fn a_setting_that_an_older_version_did_not_know_counts_as_its_default() {
    let new = accepted("", &[], &[]).effective;
    let older: Effective = serde_json::from_str(
        &serde_json::to_string(&new.iter().filter(|(name, _)| *name != "score.ridge").collect::<BTreeMap<_, _>>())
            .expect("serializable"),
    )
    .expect("the same form");
    assert!(differences(&older, &new).is_empty());
    let newer = accepted("", &[], &["score.ridge=2"]).effective;
    assert_eq!(differences(&older, &newer).len(), 1);
}

/// A value that the setting accepts and that is not its default.
fn example(kind: Kind) -> Vec<String> {
    let one = |text: &str| vec![text.to_owned()];
    match kind {
        Kind::Flag => one("off"),
        Kind::Count { min, max } => vec![min.to_string(), max.to_string()],
        Kind::Counts { .. } => one("[3]"),
        Kind::Number { bounds } | Kind::NumberOr { bounds, .. } => one(&bounds.high.to_string()),
        Kind::Pair => one("[0, 1]"),
        Kind::Length { min_millis, max_millis, .. } => vec![format!("{min_millis}ms"), format!("{max_millis}ms")],
        Kind::Size { min, max } => vec![format!("{min}B"), max.to_string()],
        Kind::Text => one("\"/text\""),
        Kind::Path => one("path"),
        Kind::Words => one("word"),
        Kind::Address => vec!["[::1]:0".to_owned(), "off".to_owned()],
        Kind::Choice(names) => names.iter().map(|name| (*name).to_owned()).collect(),
        Kind::Secret => one("{ env = \"S\" }"),
        Kind::Properties => one("{ \"a.b\" = \"c\" }"),
        Kind::Open => one("{ a = 1 }"),
    }
}

/// What must be set beside a setting so that no rule between settings is broken.
fn company(name: &str) -> Vec<String> {
    let with: &[&str] = match name {
        "filter.window" => &["filter.kappa=1"],
        "kafka.security_protocol" => &["kafka.sasl_mechanism=OAUTHBEARER"],
        "kafka.sasl_mechanism" => {
            &["kafka.security_protocol=sasl_ssl", "kafka.username=u", "kafka.password={ env = \"S\" }"]
        }
        "kafka.certificate_file" => &["kafka.key_file=k"],
        "kafka.key_file" => &["kafka.certificate_file=c"],
        _ => &[],
    };
    with.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn table_and_structs_agree_on_every_setting_and_every_choice() {
    for setting in TABLE {
        for value in example(setting.kind) {
            let mut assignments = company(setting.name);
            assignments.push(format!("{}={value}", setting.name));
            if matches!(value.as_str(), "plaintext" | "ssl") {
                assignments.remove(0);
            }
            let assignments: Vec<&str> = assignments.iter().map(String::as_str).collect();
            let settings = accepted("", &[("S", "secret")], &assignments);
            let named = |name: &str| {
                name.strip_prefix(setting.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            assert!(settings.effective.iter().any(|(name, _)| named(name)), "{} is lost", setting.name);
        }
    }
}

#[test]
fn no_setting_is_listed_twice_and_defaults_are_canonical_values() {
    let mut names = std::collections::BTreeSet::new();
    for setting in TABLE {
        assert!(names.insert(setting.name), "{} is listed twice", setting.name);
        assert!(setting.purpose.ends_with('.'), "{}: the purpose is not a sentence", setting.name);
        let inside = |other: &Setting| other.name.starts_with(&format!("{}.", setting.name));
        assert!(!TABLE.iter().any(inside), "{} is both a setting and a section", setting.name);
    }
}

#[test]
fn the_schema_accepts_what_is_accepted_and_refuses_unknown_keys() {
    let validator = jsonschema::validator_for(&schema()).expect("a schema");
    let json = |toml: &str| serde_json::to_value(toml::from_str::<Table>(toml).expect("TOML")).expect("JSON");
    assert!(validator.is_valid(&json("")));
    assert!(validator.is_valid(&json(&show(&Sources::default()).expect("shown"))));
    assert!(validator.is_valid(&json("[filter]\nkappa = 0.2\n[kafka]\ntopics = [\"t\"]\n[mapping]\nx = { y = 1 }\n")));
    for wrong in [
        "[filter]\nkapa = 0.1",
        "[filter]\nkappa = 0",
        "[score]\nkind = \"retrun\"",
        "[kafka]\npassword = \"p\"",
        "x = 1",
    ] {
        assert!(!validator.is_valid(&json(wrong)), "{wrong}");
    }
}

#[test]
fn the_stored_schema_is_the_one_that_the_program_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/config.schema.json");
    let stored = std::fs::read_to_string(&path).expect("schemas/config.schema.json");
    let printed = format!("{:#}\n", schema());
    assert!(stored == printed, "schemas/config.schema.json is old: write it anew with `sluicebox config schema`");
}

#[test]
fn two_variables_for_one_setting_are_refused_by_their_names_alone() {
    for (one, other, name) in [
        ("FILTER__KAPPA", "filter__kappa", "filter.kappa"),
        ("KAFKA__PASSWORD", "kafka__password", "kafka.password"),
        ("KAFKA__PROPERTIES__LINGER_MS", "KAFKA__PROPERTIES__LINGER__MS", "kafka.properties.linger.ms"),
    ] {
        let (one, other) = (format!("SLUICEBOX__{one}"), format!("SLUICEBOX__{other}"));
        let problem = problem("", &[(&one, "0.3"), (&other, "0.4")], &[]);
        assert_eq!(problem.name, name);
        assert!(problem.fix.contains(&one) && problem.fix.contains(&other), "{problem}");
        assert!(!problem.to_string().contains("0.3") && !problem.to_string().contains("0.4"), "{problem}");
    }
}
