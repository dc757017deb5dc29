//! A conversation without a socket, for tests and fuzzers: what a stranger says is a slice, what is answered a vector.

use std::pin::Pin;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use hyper::rt::ReadBufCursor;
use tokio::runtime::Runtime;

use super::*;

/// All answers to one connection on which `said` arrives, at most `piece` bytes at a time, and then the end.
pub(crate) fn overhear(shown: Shown, limits: Limits, said: &[u8], piece: usize) -> Vec<u8> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("no runtime: {error}"),
    });
    let answered = Arc::new(Mutex::new(Vec::new()));
    let stranger = Stranger { said: said.to_vec(), heard: 0, piece: piece.max(1), answered: Arc::clone(&answered) };
    runtime.block_on(async {
        let Ok(place) = Arc::new(Semaphore::new(1)).acquire_owned().await else { return };
        let (_closing, told) = watch::channel(false);
        converse(stranger, router(shown, limits), limits, told, place).await;
    });
    let mut answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut *answered)
}

struct Stranger {
    said: Vec<u8>,
    heard: usize,
    piece: usize,
    answered: Arc<Mutex<Vec<u8>>>,
}

impl Read for Stranger {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let length = self.piece.min(buffer.remaining()).min(self.said.len() - self.heard);
        buffer.put_slice(&self.said[self.heard..self.heard + length]);
        self.heard += length;
        Poll::Ready(Ok(()))
    }
}

impl Write for Stranger {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
