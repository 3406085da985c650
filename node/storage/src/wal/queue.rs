//! What waits for the writer, and when the writer wakes.
//!
//! The thread is woken once the tasks that are ready now have run, not by the first of them: what they all append
//! shares one sync. That takes no timer, and on a quiet node no time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};

use super::command::Message;
use super::options::Driver;

/// A queue with places for so many messages, for a writer of this kind.
pub(super) fn queue(places: usize, driver: Driver) -> (Queue, Waiting) {
    let (sender, messages) = mpsc::channel(places);
    let bell = Arc::new(Bell {
        for_thread: driver == Driver::Threads,
        ..Bell::default()
    });
    let asking = Asking {
        sender,
        bell: Rings(Arc::clone(&bell)),
    };
    let (queue, more) = (Queue(Arc::new(asking)), false);
    (queue, Waiting { messages, bell, more })
}

/// The end that asks. The writer hears when the last copy has gone.
#[derive(Clone)]
pub(super) struct Queue(Arc<Asking>);

struct Asking {
    sender: mpsc::Sender<Message>,
    // Behind the sender, so that it ends later.
    bell: Rings,
}

impl Queue {
    /// # Errors
    /// The message, where there is no place or no writer.
    pub(super) fn try_send(&self, message: Message) -> Result<(), Message> {
        match self.0.sender.try_send(message) {
            Ok(()) => {
                self.0.bell.0.ring_soon();
                Ok(())
            }
            Err(TrySendError::Full(message) | TrySendError::Closed(message)) => Err(message),
        }
    }

    /// Waits for a place. False where there is no writer.
    pub(super) async fn send(&self, message: Message) -> bool {
        let sent = self.0.sender.send(message).await.is_ok();
        self.0.bell.0.ring();
        sent
    }
}

/// The writer's end.
pub(super) struct Waiting {
    messages: mpsc::Receiver<Message>,
    bell: Arc<Bell>,
    /// Some may be left for which the bell has rung, or the end.
    more: bool,
}

impl Waiting {
    /// The next message. `None` once nobody can ask any more.
    pub(super) fn next_blocking(&mut self) -> Option<Message> {
        loop {
            if !self.more {
                self.bell.wait();
            }
            match self.messages.try_recv() {
                Ok(message) => {
                    self.more = true;
                    return Some(message);
                }
                Err(TryRecvError::Disconnected) => return None,
                // Taken before, with those in front of it.
                Err(TryRecvError::Empty) => self.more = false,
            }
        }
    }

    /// As [`Self::next_blocking`], for a writer that is a task.
    pub(super) async fn next(&mut self) -> Option<Message> {
        self.messages.recv().await
    }

    /// One more that is there already.
    pub(super) fn take(&mut self) -> Option<Message> {
        let message = self.messages.try_recv();
        self.more = !matches!(message, Err(TryRecvError::Empty));
        message.ok()
    }

    /// Takes no more.
    pub(super) fn close(&mut self) {
        self.messages.close();
    }
}

#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
    /// Somebody rings soon.
    soon: AtomicBool,
    for_thread: bool,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock() = true;
        self.heard.notify_one();
    }

    fn ring_soon(self: &Arc<Self>) {
        if !self.for_thread || self.soon.swap(true, Ordering::AcqRel) {
            return;
        }
        let rings = Rings(Arc::clone(self));
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                // Comes back when nothing else is ready.
                tokio::task::yield_now().await;
                drop(rings);
            });
        }
    }

    fn wait(&self) {
        let mut rung = self.rung.lock();
        while !*rung {
            self.heard.wait(&mut rung);
        }
        *rung = false;
    }
}

/// Rings when dropped: by a task at its end, or because the runtime ends without running it.
struct Rings(Arc<Bell>);

impl Drop for Rings {
    fn drop(&mut self) {
        self.0.soon.store(false, Ordering::Release);
        self.0.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::sync::oneshot;

    use super::*;

    fn message() -> Message {
        Message::Stop(oneshot::channel().0)
    }

    /// Sizes of the lots that a writer takes, until nobody can ask any more.
    fn lots(mut waiting: Waiting, most: usize) -> thread::JoinHandle<Vec<usize>> {
        thread::spawn(move || {
            let mut lots = Vec::new();
            while waiting.next_blocking().is_some() {
                let mut lot = 1;
                while lot < most && waiting.take().is_some() {
                    lot += 1;
                }
                lots.push(lot);
            }
            lots
        })
    }

    async fn ask(queue: &Queue, times: usize) {
        let asking = (0..times).map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move {
                assert!(queue.try_send(message()).is_ok());
                drop(queue.clone());
            })
        });
        for asked in asking.collect::<Vec<_>>() {
            asked.await.expect("it asks");
        }
    }

    #[tokio::test]
    async fn what_tasks_ask_that_are_ready_together_is_one_lot() {
        let (queue, waiting) = queue(16, Driver::Threads);
        let lots = lots(waiting, usize::MAX);
        ask(&queue, 10).await;
        drop(queue);
        assert_eq!(lots.join().expect("it ends"), [10]);
    }

    #[tokio::test]
    async fn what_a_writer_left_is_taken_without_another_call() {
        let (queue, waiting) = queue(16, Driver::Threads);
        let lots = lots(waiting, 4);
        ask(&queue, 10).await;
        drop(queue);
        assert_eq!(lots.join().expect("it ends"), [4, 4, 2]);
    }

    #[test]
    fn a_call_from_outside_of_any_runtime_is_heard_at_once() {
        let (queue, mut waiting) = queue(1, Driver::Threads);
        assert!(queue.try_send(message()).is_ok());
        assert!(waiting.next_blocking().is_some());
        assert!(queue.try_send(message()).is_ok());
        assert!(queue.try_send(message()).is_err(), "there is no place");
        assert!(waiting.next_blocking().is_some());
    }
}
