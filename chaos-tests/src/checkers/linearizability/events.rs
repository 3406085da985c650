//! The calls and returns of one register as a doubly linked list, so that a call can be lifted out and put
//! back in constant time.

use super::model::Call;

/// Index of an event; 0 is the head.
pub(super) type At = usize;

#[derive(Clone, Copy)]
pub(super) struct Event {
    pub(super) call: usize,
    /// Where this call returns; none for a return, and for a call that is open for ever.
    pub(super) matching: Option<At>,
    pub(super) is_return: bool,
    previous: At,
    next: Option<At>,
}

pub(super) struct Events {
    events: Vec<Event>,
}

impl Events {
    pub(super) fn new(calls: &[Call]) -> Self {
        let mut order: Vec<(u64, bool, usize)> = Vec::with_capacity(calls.len() * 2);
        for (index, call) in calls.iter().enumerate() {
            order.push((call.invoked, false, index));
            if let Some(returned) = call.returned {
                order.push((returned, true, index));
            }
        }
        order.sort_unstable();
        let head = Event {
            call: usize::MAX,
            matching: None,
            is_return: true,
            previous: 0,
            next: None,
        };
        let mut events = vec![head];
        let mut started = vec![0; calls.len()];
        for (_, is_return, call) in order {
            let at = events.len();
            events[at - 1].next = Some(at);
            events.push(Event {
                call,
                matching: None,
                is_return,
                previous: at - 1,
                next: None,
            });
            if is_return {
                let start: At = started[call];
                events[start].matching = Some(at);
            } else {
                started[call] = at;
            }
        }
        Self { events }
    }

    pub(super) fn first(&self) -> Option<At> {
        self.events[0].next
    }

    pub(super) fn get(&self, at: At) -> Event {
        self.events[at]
    }

    pub(super) fn after(&self, at: At) -> Option<At> {
        self.events[at].next
    }

    /// Takes a call and its return out.
    pub(super) fn lift(&mut self, at: At) {
        self.unlink(at);
        if let Some(matching) = self.events[at].matching {
            self.unlink(matching);
        }
    }

    /// Undoes the latest [`Events::lift`] that has not been undone.
    pub(super) fn restore(&mut self, at: At) {
        if let Some(matching) = self.events[at].matching {
            self.link(matching);
        }
        self.link(at);
    }

    fn unlink(&mut self, at: At) {
        let Event { previous, next, .. } = self.events[at];
        self.events[previous].next = next;
        if let Some(next) = next {
            self.events[next].previous = previous;
        }
    }

    fn link(&mut self, at: At) {
        let Event { previous, next, .. } = self.events[at];
        self.events[previous].next = Some(at);
        if let Some(next) = next {
            self.events[next].previous = at;
        }
    }
}
