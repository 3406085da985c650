//! Which shards this node says that it leads. A claim is as old as the driver's last round: a driver that hangs must
//! not keep its leaders in office for ever, since the watch lane has a thread of its own and speaks on.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A claim that the driver has not repeated for this long is not made any more. It repeats it every 20 to 100 ms; only a
/// process that does nothing at all comes near this.
pub const CLAIM_LIFE: Duration = Duration::from_secs(2);

/// The newest claims.
#[derive(Debug, Default)]
pub struct Claims(Mutex<Option<(Instant, Vec<u32>)>>);

impl Claims {
    /// These shards are led here, as of now.
    pub fn set(&self, shards: Vec<u32>) {
        *self.0.lock() = Some((Instant::now(), shards));
    }

    /// What to tell the peers now.
    #[must_use]
    pub fn get(&self) -> Vec<u32> {
        match &*self.0.lock() {
            Some((at, shards)) if at.elapsed() < CLAIM_LIFE => shards.clone(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_claim_dies_with_the_driver_that_made_it() {
        let claims = Claims::default();
        assert!(claims.get().is_empty());
        claims.set(vec![1, 2]);
        tokio::time::advance(CLAIM_LIFE - Duration::from_millis(1)).await;
        assert_eq!(claims.get(), vec![1, 2]);
        claims.set(vec![2]);
        tokio::time::advance(CLAIM_LIFE - Duration::from_millis(1)).await;
        assert_eq!(claims.get(), vec![2], "a new round, a new life");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(claims.get().is_empty());
    }
}
