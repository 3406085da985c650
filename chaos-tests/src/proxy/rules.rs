//! What a proxy does to the bytes of its connections, changed while they flow.

use std::time::Duration;

/// One direction of a connection, seen from the side that connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the side that connected.
    Forward,
    /// To it.
    Backward,
}

impl Direction {
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Forward => Self::Backward,
            Self::Backward => Self::Forward,
        }
    }
}

/// What happens to the bytes of one direction. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Every byte is late by this much,
    pub delay: Duration,
    /// and by up to this much more, drawn for each piece; order is kept.
    pub jitter: Duration,
    /// Bytes per second; 0 = as fast as it goes.
    pub bytes_per_second: u64,
    /// Bytes wait, and none is lost.
    pub frozen: bool,
    /// Bytes are swallowed, and the connection is reset when that ends.
    pub swallows: bool,
    /// How often the end of the stream was pretended: the connections there are at each rise see it.
    pub half_closes: u32,
    /// How often a message was cut in the middle and the connection broken.
    pub truncations: u32,
}

impl Way {
    /// Nothing gets through now.
    pub(super) fn is_blocked(&self) -> bool {
        self.frozen || self.swallows
    }

    /// The same link, once it works again; what already happened stays counted.
    pub(super) fn healed(self) -> Self {
        Self {
            half_closes: self.half_closes,
            truncations: self.truncations,
            ..Self::default()
        }
    }
}

/// All that a proxy does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub forward: Way,
    pub backward: Way,
    /// Nobody listens: the kernel refuses connects.
    pub refuses: bool,
    /// How often all connections were reset.
    pub resets: u32,
}

impl Rules {
    #[must_use]
    pub fn way(&self, direction: Direction) -> &Way {
        match direction {
            Direction::Forward => &self.forward,
            Direction::Backward => &self.backward,
        }
    }

    pub fn way_mut(&mut self, direction: Direction) -> &mut Way {
        match direction {
            Direction::Forward => &mut self.forward,
            Direction::Backward => &mut self.backward,
        }
    }

    /// Everything works again, and connects are taken.
    pub fn heal(&mut self) {
        *self = Self {
            forward: self.forward.healed(),
            backward: self.backward.healed(),
            refuses: false,
            resets: self.resets,
        };
    }
}
