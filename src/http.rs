//! The HTTP side: `/livez`, `/readyz`, `/metrics`, `/version` and `/status` show, `POST /v1/recommend` answers with the live
//! policy.
//!
//! It runs on a thread and a runtime of its own and reads snapshots, so it answers while the pipeline stalls; that is
//! when one needs it most. Everything a stranger could hold on to is limited: connections, their age, the time and the
//! size of a request's head and body, and how many questions are answered at once. Bodies are refused where none is asked for.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::clock;
use crate::live::Sessions;
use crate::serve::{Draw, Live, ServeError};
use crate::telemetry::{Health, declared};

/// What strangers may use up.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connections_max: usize,
    /// Bytes of a request's head.
    pub head_bytes_max: usize,
    pub headers_max: usize,
    /// Time for a head to arrive, also the time that a silent connection stays open.
    pub head_wait: Duration,
    /// Bytes of a question.
    pub body_bytes_max: usize,
    /// Time for a question to arrive.
    pub body_wait: Duration,
    /// Questions that are answered at once; the next one is told to come back.
    pub answers_max: usize,
    /// Age at which a connection is closed after the answer that is under way.
    pub connection_age_max: Duration,
    /// How long an answer may still take when a connection is to be closed.
    pub goodbye: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 256,
            head_bytes_max: 16 * 1024,
            headers_max: 64,
            head_wait: Duration::from_secs(5),
            body_bytes_max: 1 << 20,
            body_wait: Duration::from_secs(5),
            answers_max: 8,
            connection_age_max: Duration::from_secs(60),
            goodbye: Duration::from_secs(5),
        }
    }
}

/// What is shown.
#[derive(Debug, Clone)]
pub struct Shown {
    pub health: Arc<Health>,
    pub metrics: PrometheusHandle,
    pub sessions: Arc<Sessions>,
    /// Who is asked for recommendations.
    pub live: Arc<Live>,
}

/// What a question is answered with, and within which limits.
#[derive(Debug, Clone)]
struct Asked {
    live: Arc<Live>,
    limits: Limits,
    places: Arc<Semaphore>,
}

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("could not listen on {address}; http.listen names another address, or \"off\"")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("could not start the thread that serves HTTP")]
    Thread(#[source] io::Error),
}

/// A server on a thread of its own. Dropping it stops it as well, without waiting.
#[derive(Debug)]
pub struct Server {
    /// Where it really listens: port 0 has become a free one.
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Listens before it returns, so a taken port is an error at start and not a line in a log.
    pub fn start(address: SocketAddr, shown: Shown, limits: Limits) -> Result<Server, HttpError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(HttpError::Thread)?;
        let listen = |source| HttpError::Listen { address, source };
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let (stop, stopped) = oneshot::channel();
        let serving = move || {
            runtime.block_on(serve(listener, shown, limits, async {
                // An error means that the server was dropped: the same wish.
                let _ = stopped.await;
            }));
        };
        let thread = std::thread::Builder::new().name("http".into()).spawn(serving).map_err(HttpError::Thread)?;
        Ok(Server { address: bound, stop, thread })
    }

    /// Answers what is under way, then ends; takes no longer than [`Limits::goodbye`].
    pub fn stop(self) {
        // Neither can fail in a way that matters here: the thread has ended already, or it panicked and said so.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// Serves until `shutdown` is ready, and then until the answers under way are given.
pub async fn serve(listener: TcpListener, shown: Shown, limits: Limits, shutdown: impl Future<Output = ()>) {
    let router = router(shown, limits);
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let (closing, _) = watch::channel(false);
    let mut shutdown = pin!(shutdown);
    loop {
        // The place comes first: beyond the limit, connections wait in the kernel's queue and cost nothing.
        let accepted = async {
            let place = places.clone().acquire_owned().await.ok()?;
            Some((listener.accept().await, place))
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Some((Ok((stream, _)), place)) => {
                tokio::spawn(converse(TokioIo::new(stream), router.clone(), limits, closing.subscribe(), place));
            }
            // Out of file descriptors, mostly. Not a reason to end, and asking again at once would spin.
            Some((Err(error), _)) => {
                tracing::warn!(%error, "could not accept an HTTP connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            None => break,
        }
    }
    drop(listener);
    let _ = closing.send(true);
    // All places back means that all conversations are over.
    let all = u32::try_from(limits.connections_max).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(limits.goodbye, places.acquire_many(all)).await;
}

/// One connection, from its first request to its end.
async fn converse(
    stream: impl Read + Write + Unpin + 'static,
    router: Router,
    limits: Limits,
    mut closing: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_wait)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.head_bytes_max)
        .serve_connection(stream, TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        // A client that breaks off is its own business.
        _ = connection.as_mut() => return,
        _ = tokio::time::sleep(limits.connection_age_max) => {}
        _ = closing.wait_for(|closing| *closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(limits.goodbye, connection).await;
}

fn router(shown: Shown, limits: Limits) -> Router {
    let places = Arc::new(Semaphore::new(limits.answers_max));
    let asked = Asked { live: Arc::clone(&shown.live), limits, places };
    let shows = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .route("/status", get(status))
        .fallback(nothing_here)
        .layer(middleware::from_fn(refuse_bodies))
        .with_state(shown);
    Router::new().route("/v1/recommend", post(recommend)).with_state(asked).merge(shows)
}

async fn livez(State(shown): State<Shown>) -> Response {
    declared::REQUESTS.add("/livez", 1);
    said(shown.health.live(), "live")
}

async fn readyz(State(shown): State<Shown>) -> Response {
    declared::REQUESTS.add("/readyz", 1);
    said(shown.health.ready(), "ready")
}

async fn metrics(State(shown): State<Shown>) -> Response {
    declared::REQUESTS.add("/metrics", 1);
    declared::UPTIME.set(shown.health.uptime().as_secs_f64());
    declared::BUILD.set(env!("CARGO_PKG_VERSION"), 1.0);
    let page = shown.metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}

async fn version() -> Response {
    declared::REQUESTS.add("/version", 1);
    Json(json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") })).into_response()
}

async fn status(State(shown): State<Shown>, uri: Uri) -> Response {
    declared::REQUESTS.add("/status", 1);
    let Some(query) = uri.query().filter(|query| !query.is_empty()) else {
        return Json(shown.health.report()).into_response();
    };
    let Some(user) = query.split('&').find_map(|pair| decoded(pair.strip_prefix("user=")?)) else {
        let said = json!({ "error": "the only question is ?user=NAME, percent-encoded" });
        return (StatusCode::BAD_REQUEST, Json(said)).into_response();
    };
    let session = shown.sessions.look_up(&user);
    let code = if session.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    (code, Json(json!({ "user": user, "session": session }))).into_response()
}

/// A question as `recommend --stdin` takes it; `?sample=SEED` draws instead of taking the best.
async fn recommend(State(asked): State<Asked>, uri: Uri, body: Body) -> Response {
    declared::REQUESTS.add("/v1/recommend", 1);
    let started = clock::Stopwatch::start();
    let draw = match uri.query().filter(|query| !query.is_empty()).map(|query| query.strip_prefix("sample=")) {
        None => Some(Draw::BestFirst),
        Some(seed) => seed.and_then(|seed| seed.parse().ok()).map(Draw::sampled),
    };
    let Some(mut draw) = draw else {
        return refusal(StatusCode::BAD_REQUEST, "the only option is ?sample=SEED, a whole number");
    };
    let limits = asked.limits;
    let question = match tokio::time::timeout(limits.body_wait, to_bytes(body, limits.body_bytes_max)).await {
        Ok(Ok(question)) => question,
        Ok(Err(_)) => {
            let said = format!("the question was cut off, or has more than {} bytes", limits.body_bytes_max);
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, &said);
        }
        Err(_) => return refusal(StatusCode::REQUEST_TIMEOUT, "the question did not arrive in time"),
    };
    // Only now: a question that never arrives must not take the place of those that do.
    let Ok(_place) = asked.places.try_acquire() else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many questions at once; ask again");
    };
    // Beside the thread that holds all connections: a large catalog takes a millisecond.
    let live = Arc::clone(&asked.live);
    let answered = tokio::task::spawn_blocking(move || live.answer(&mut draw, &question)).await;
    declared::RECOMMEND_SECONDS.record(started.elapsed().as_secs_f64());
    match answered {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(error @ ServeError::NoPolicy)) => refusal(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        Ok(Err(error)) => refusal(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "the answer was not finished"),
    }
}

/// Closes the connection: what is left of a question is not read.
fn refusal(code: StatusCode, error: &str) -> Response {
    (code, [(header::CONNECTION, "close")], Json(json!({ "error": error }))).into_response()
}

async fn nothing_here() -> Response {
    let said = "not found; there are /livez /readyz /metrics /version /status and POST /v1/recommend\n";
    (StatusCode::NOT_FOUND, said).into_response()
}

/// Closes the connection as well: what would be read and thrown away is not even read.
async fn refuse_bodies(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    (StatusCode::PAYLOAD_TOO_LARGE, [(header::CONNECTION, "close")], "no request here has a body\n").into_response()
}

fn said(answer: Result<(), &'static str>, yes: &'static str) -> Response {
    match answer {
        Ok(()) => (StatusCode::OK, format!("{yes}\n")).into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not {yes}: {reason}\n")).into_response(),
    }
}

/// Percent-decoding of one query value; `None` unless it is UTF-8.
fn decoded(text: &str) -> Option<String> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?,
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(plain).ok()
}

#[cfg(any(test, fuzzing))]
pub(crate) mod overheard;
#[cfg(test)]
mod tests;
