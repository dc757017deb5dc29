//! The server as a client on a real socket sees it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream as Socket;
use std::time::Instant;

use super::*;
use crate::serve::tests::live;
use crate::telemetry::{self, Phase, Status};
use crate::time::EventTime;

struct World {
    server: Server,
    health: Arc<Health>,
    sessions: Arc<Sessions>,
}

fn world(limits: Limits) -> World {
    let health = Arc::new(Health::new());
    let sessions = Arc::new(Sessions::new(10));
    let metrics = telemetry::recorder().expect("recorder").handle();
    let shown = Shown { health: health.clone(), metrics, sessions: sessions.clone(), live: live() };
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(any_port, shown, limits).expect("a free port");
    World { server, health, sessions }
}

fn connect(server: &Server) -> Socket {
    let socket = Socket::connect(server.address).expect("connected");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("time-out");
    socket
}

/// Everything until the server closes. A reset after the answer counts as its end.
fn rest(mut socket: Socket) -> String {
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the server did not close"),
    }
    String::from_utf8(bytes).expect("UTF-8")
}

fn exchange(server: &Server, request: &str) -> String {
    let mut socket = connect(server);
    socket.write_all(request.as_bytes()).expect("sent");
    rest(socket)
}

/// Status code and body.
fn get(server: &Server, path: &str) -> (u16, String) {
    let answer = exchange(server, &format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"));
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (code, body.to_owned())
}

fn json(body: &str) -> serde_json::Value {
    serde_json::from_str(body).expect("JSON")
}

#[test]
fn every_page_answers() {
    let world = world(Limits::default());
    world.health.publish(Status { phase: Phase::Live, ..Status::default() });
    assert_eq!(get(&world.server, "/livez"), (200, "live\n".into()));
    assert_eq!(get(&world.server, "/readyz"), (200, "ready\n".into()));
    let (code, body) = get(&world.server, "/version");
    assert_eq!((code, &json(&body)["version"]), (200, &env!("CARGO_PKG_VERSION").into()));
    let (code, body) = get(&world.server, "/status");
    assert_eq!((code, &json(&body)["phase"]), (200, &"live".into()));
    assert_eq!(get(&world.server, "/metrics").0, 200);
    assert_eq!(get(&world.server, "/").0, 404);
    world.server.stop();
}

#[test]
fn readiness_is_refused_until_the_pipeline_says_so_and_after_it_stops() {
    let world = world(Limits::default());
    assert_eq!(get(&world.server, "/readyz"), (503, "not ready: starting\n".into()));
    assert_eq!(get(&world.server, "/livez").0, 200);
    world.health.publish(Status { phase: Phase::Stopping, ..Status::default() });
    assert_eq!(get(&world.server, "/readyz"), (503, "not ready: stopping\n".into()));
    world.server.stop();
}

#[test]
fn metrics_are_rendered_as_prometheus_reads_them() {
    let recorder = telemetry::recorder().expect("recorder");
    let (health, sessions) = (Arc::new(Health::new()), Arc::new(Sessions::new(1)));
    let shown = Shown { health, metrics: recorder.handle(), sessions, live: live() };
    metrics::with_local_recorder(&recorder, || declared::ADMITTED_UNITS.add(12));
    let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), shown, Limits::default()).expect("a free port");
    let answer = exchange(&server, "GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("\nsluicebox_admitted_units_total 12\n"), "{answer}");
    server.stop();
}

#[test]
fn a_user_is_looked_up_by_a_percent_encoded_name() {
    let world = world(Limits::default());
    let time = EventTime::new(1_700_000_000_000).expect("a time of this century");
    world.sessions.step("jörg & co", time);
    let (code, body) = get(&world.server, "/status?user=j%C3%B6rg+%26%20co");
    assert_eq!((code, &json(&body)["session"]["steps"]), (200, &1.into()));
    assert_eq!(json(&body)["session"]["last_event"], "2023-11-14T22:13:20Z");
    assert_eq!(get(&world.server, "/status?user=nobody").0, 404);
    for wrong in ["/status?user=%F", "/status?user=%ff", "/status?name=x"] {
        assert_eq!(get(&world.server, wrong).0, 400, "{wrong}");
    }
    world.server.stop();
}

#[test]
fn bodies_large_heads_and_other_methods_are_refused() {
    let world = world(Limits::default());
    let answer = exchange(&world.server, "GET /status HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\nhello");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let many = "X: y\r\n".repeat(100);
    let answer = exchange(&world.server, &format!("GET /status HTTP/1.1\r\nHost: here\r\n{many}\r\n"));
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let long = "y".repeat(40_000);
    let answer = exchange(&world.server, &format!("GET /{long} HTTP/1.1\r\nHost: here\r\n\r\n"));
    assert!(!answer.contains(" 200 "), "{answer}");
    let answer = exchange(&world.server, "POST /status HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    world.server.stop();
}

#[test]
fn a_client_that_does_not_finish_its_head_is_put_out() {
    let world = world(Limits { head_wait: Duration::from_millis(100), ..Limits::default() });
    let mut slow = connect(&world.server);
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost").expect("sent");
    let answer = rest(slow);
    assert!(!answer.contains(" 200 "), "{answer}");
    world.server.stop();
}

#[test]
fn an_old_connection_is_closed_and_makes_room() {
    // A silent connection would be closed at `head_wait` too: here only its age can do it.
    let (age, silence) = (Duration::from_millis(200), Duration::from_secs(900));
    let limits = Limits { connections_max: 1, connection_age_max: age, head_wait: silence, ..Limits::default() };
    let world = world(limits);
    let mut idle = connect(&world.server);
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n").expect("sent");
    // Waits in the kernel's queue until the only place is free again.
    assert_eq!(get(&world.server, "/livez").0, 200);
    assert!(rest(idle).starts_with("HTTP/1.1 200 "));
    world.server.stop();
}

#[test]
fn stopping_ends_idle_connections_and_frees_the_port() {
    let world = world(Limits::default());
    let mut idle = connect(&world.server);
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n").expect("sent");
    let mut first = [0; 12];
    idle.read_exact(&mut first).expect("an answer");
    let address = world.server.address;
    let started = Instant::now();
    world.server.stop();
    assert!(started.elapsed() < Limits::default().goodbye, "stopping waited for an idle connection");
    assert!(Socket::connect(address).is_err());
}

#[test]
fn a_taken_port_is_an_error_at_start() {
    let world = world(Limits::default());
    let metrics = telemetry::recorder().expect("recorder").handle();
    let shown = Shown { health: world.health.clone(), metrics, sessions: world.sessions.clone(), live: live() };
    let error = Server::start(world.server.address, shown, Limits::default()).expect_err("taken");
    assert!(error.to_string().contains(&world.server.address.to_string()), "{error}");
    world.server.stop();
}

#[test]
fn it_answers_while_the_pipeline_says_nothing_and_shows_since_when() {
    let world = world(Limits::default());
    world.health.publish(Status { phase: Phase::Live, ..Status::default() });
    let age = || json(&get(&world.server, "/status").1)["age_seconds"].as_f64().expect("a number");
    let (first, second) = (age(), age());
    assert!(second > first, "{first} {second}");
    world.server.stop();
}

/// Status code and body of a question.
fn post(server: &Server, path: &str, body: &str) -> (u16, serde_json::Value) {
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let answer = exchange(server, &(head + body));
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    (code, json(answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)))
}

const QUESTION: &str = r#"{"decision": {"ts": 1700000000000, "user": "u", "x": [0.4]}, "top": 2}"#;

#[test]
fn a_question_is_answered_by_the_live_policy() {
    let world = world(Limits::default());
    let (code, answer) = post(&world.server, "/v1/recommend", QUESTION);
    assert_eq!((code, &answer["items"], &answer["policy_version"]), (200, &json(r#"["d","c"]"#), &7.into()));
    let drawn = |seed: u64| post(&world.server, &format!("/v1/recommend?sample={seed}"), QUESTION).1["items"].clone();
    let draws: Vec<serde_json::Value> = (0..20).map(drawn).collect();
    assert_eq!(draws[3], drawn(3));
    assert!(draws.iter().any(|items| *items != draws[0]));
    world.server.stop();
}

#[test]
fn wrong_questions_are_named_and_the_server_goes_on() {
    let world = world(Limits { body_bytes_max: 500, ..Limits::default() });
    for body in ["", "{", "[]", "\u{0}", r#"{"tpo": 1}"#, r#"{"decision": {"user": "u"}}"#] {
        let (code, answer) = post(&world.server, "/v1/recommend", body);
        assert!(code == 400 && answer["error"].is_string(), "{body}: {code} {answer}");
    }
    assert_eq!(post(&world.server, "/v1/recommend?sample=x", QUESTION).0, 400);
    let (code, answer) = post(&world.server, "/v1/recommend", &" ".repeat(501));
    assert!(code == 413 && answer["error"].to_string().contains("500 bytes"), "{code} {answer}");
    // Without a length it is cut off at the limit all the same.
    let chunk = "1f4\r\n".to_owned() + &" ".repeat(500) + "\r\n";
    let chunked =
        "POST /v1/recommend HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned() + &chunk + &chunk;
    let answer = exchange(&world.server, &chunked);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(get(&world.server, "/v1/recommend").0, 405);
    assert_eq!(post(&world.server, "/v1/recommend", QUESTION).0, 200);
    world.server.stop();
}

#[test]
fn a_question_that_does_not_arrive_is_given_up_and_makes_room() {
    let world = world(Limits { body_wait: Duration::from_millis(100), answers_max: 1, ..Limits::default() });
    let mut slow = connect(&world.server);
    slow.write_all(b"POST /v1/recommend HTTP/1.1\r\nHost: here\r\nContent-Length: 50\r\n\r\n{").expect("sent");
    let answer = rest(slow);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(post(&world.server, "/v1/recommend", QUESTION).0, 200);
    world.server.stop();
}

#[test]
fn too_many_questions_at_once_are_told_to_come_back() {
    let world = world(Limits { answers_max: 0, ..Limits::default() });
    let (code, answer) = post(&world.server, "/v1/recommend", QUESTION);
    assert!(code == 503 && answer["error"].to_string().contains("at once"), "{code} {answer}");
    world.server.stop();
}
