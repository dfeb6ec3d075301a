//! Requests that are carried to their end even when nobody waits for them any more.
//!
//! A server that was asked to open something holds a handle from then on. Whoever asked may be dropped
//! before the reply is in, and a reply without a waiter is thrown away: the handle would stay open for as
//! long as the channel does. So the rest of the request then goes on in a task of its own, and what comes
//! of it is dropped there, which closes it. Nothing is spawned for a request that is waited for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// `request`, which finishes in the background if it was begun and then dropped.
pub(super) fn to_the_end<F>(request: F) -> ToTheEnd<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    ToTheEnd { request: Some(Box::pin(request)), begun: false }
}

/// See [`to_the_end`].
pub(super) struct ToTheEnd<F: Future<Output: Send> + Send + 'static> {
    /// Until it has its reply.
    request: Option<Pin<Box<F>>>,
    begun: bool,
}

impl<F: Future<Output: Send> + Send + 'static> Future for ToTheEnd<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.begun = true;
        let Some(request) = self.request.as_mut() else { return Poll::Pending };
        let polled = request.as_mut().poll(cx);
        if polled.is_ready() {
            self.request = None;
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for ToTheEnd<F> {
    fn drop(&mut self) {
        let Some(request) = self.request.take().filter(|_| self.begun) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { drop(request.await) });
        } // without one the program ends, and the connection with it
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_was_begun_ends_and_what_was_not_never_begins() {
        let (go, wait) = oneshot::channel::<()>();
        let (told, done) = oneshot::channel();
        let mut request = to_the_end(async move {
            wait.await.unwrap();
            told.send(()).unwrap();
        });
        assert!(futures_util::poll!(&mut request).is_pending());
        drop(request);
        go.send(()).unwrap();
        done.await.unwrap();

        let (told, done) = oneshot::channel::<()>();
        drop(to_the_end(async move { told.send(()) }));
        done.await.unwrap_err();
    }
}
