//! A queue between two threads that is bounded, and empty takes no memory.

use crossbeam_channel::{Receiver, Sender, TrySendError, unbounded};

/// A queue of at most `places`. A channel with a bound of its own takes the memory for all its places at once, and touches it: some
/// 4 MiB for a queue of 65,536 process events that is empty nearly always.
pub(crate) fn queue<T>(places: usize) -> (Inlet<T>, Receiver<T>) {
    let (sender, receiver) = unbounded();
    (Inlet { sender, places }, receiver)
}

/// Where a queue is filled. With several inlets of one queue, each may find room for one more at the same time.
#[derive(Debug)]
pub(crate) struct Inlet<T> {
    sender: Sender<T>,
    places: usize,
}

impl<T> Clone for Inlet<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            places: self.places,
        }
    }
}

impl<T> Inlet<T> {
    /// Puts `value` in.
    ///
    /// # Errors
    /// When there is no room, or nobody to take it out.
    pub(crate) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        if self.sender.len() >= self.places {
            return Err(TrySendError::Full(value));
        }
        self.insist(value)
    }

    /// Puts `value` in whether there is room or not: for the last word.
    ///
    /// # Errors
    /// When nobody is there to take it out.
    pub(crate) fn insist(&self, value: T) -> Result<(), TrySendError<T>> {
        self.sender
            .send(value)
            .map_err(|refused| TrySendError::Disconnected(refused.into_inner()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_comes_back() {
        let (inlet, receiver) = queue(2);
        assert!(inlet.try_send(1).is_ok() && inlet.clone().try_send(2).is_ok());
        assert_eq!(inlet.try_send(3), Err(TrySendError::Full(3)));
        assert_eq!(receiver.try_recv(), Ok(1));
        assert!(inlet.try_send(3).is_ok());
    }

    #[test]
    fn the_last_word_finds_room_while_somebody_listens() {
        let (inlet, receiver) = queue(0);
        assert!(inlet.insist("stop").is_ok());
        assert_eq!(receiver.try_recv(), Ok("stop"));
        drop(receiver);
        assert_eq!(inlet.insist("stop"), Err(TrySendError::Disconnected("stop")));
    }
}
