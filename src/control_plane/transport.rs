//! HTTP/2 connections of one client process to the API server.
//!
//! What is modelled (golang.org/x/net/http2 with net/http's Transport, as client-go sets them up): a connection
//! carries at most `max_streams` requests at once (kube-apiserver announces 100, before late 2023: 250). A
//! request takes the first connection, in order of creation, that has a free stream. If none has, it waits
//! **and starts a dial of its own**, TLS handshake included; nothing caps or merges these dials. When a dial
//! completes and some older connection has a free stream by then, the new connection is closed at once (a wasted
//! handshake), else it is kept; either way every waiting request is woken and tries again, and those that find
//! all streams taken each start another dial. That herd is why a burst of bindings takes the API server's CPU. A dial
//! that is not done after 10 s fails ([the control plane](super) times it), and with it the request that started it, if that still waits
//! and has not dialled again since.
//!
//! Left out: flow control windows, pings, GOAWAY, idle time-outs.
//!
//! Cost: O(connections) an acquisition, O(waiting) a completed dial or a failed one that somebody waits for.
use std::collections::VecDeque;

/// Streams of every open connection, and who waits for one.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Transport {
    max_streams: u32,
    streams: Vec<u32>,
    waiting: VecDeque<u32>,
    dials_started: u64,
    dials_wasted: u64,
    /// How often all connections have broken.
    epoch: u32,
}

/// Index of a connection.
pub type ConnectionId = u32;

impl Transport {
    /// A transport with one connection open, as every informer's watch has made sure.
    #[must_use]
    pub fn new(max_streams: u32) -> Self {
        Self {
            max_streams: max_streams.max(1),
            streams: vec![0],
            waiting: VecDeque::new(),
            dials_started: 0,
            dials_wasted: 0,
            epoch: 0,
        }
    }

    /// All connections break, and dials under way lead nowhere. Returns who waited for a stream.
    pub fn break_all(&mut self) -> Vec<u32> {
        self.epoch += 1;
        self.streams.clear();
        self.waiting.drain(..).collect()
    }

    /// A watch has been set up anew: there is a connection.
    pub fn connected(&mut self) {
        if self.streams.is_empty() {
            self.streams.push(0);
        }
    }

    /// How often all connections have broken.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Takes a stream, or says that the request has to dial (it then waits).
    pub fn acquire(&mut self, request: u32) -> Option<ConnectionId> {
        let found = self.take_stream();
        if found.is_none() {
            self.waiting.push_back(request);
            self.dials_started += 1;
        }
        found
    }

    fn take_stream(&mut self) -> Option<ConnectionId> {
        let at = self.streams.iter().position(|used| *used < self.max_streams)?;
        self.streams[at] += 1;
        Some(at as ConnectionId)
    }

    /// Gives a stream back.
    pub fn release(&mut self, connection: ConnectionId) {
        let used = &mut self.streams[connection as usize];
        assert!(*used > 0, "a stream is released once");
        *used -= 1;
    }

    /// A dial completed: pushes the requests that now have a stream, and those that start another dial.
    pub fn dialled(&mut self, served: &mut Vec<(u32, ConnectionId)>, again: &mut Vec<u32>) {
        if self.streams.iter().any(|used| *used < self.max_streams) {
            self.dials_wasted += 1;
        } else {
            self.streams.push(0);
        }
        for _ in 0..self.waiting.len() {
            let Some(request) = self.waiting.pop_front() else { break };
            match self.take_stream() {
                Some(connection) => served.push((request, connection)),
                None => {
                    self.waiting.push_back(request);
                    self.dials_started += 1;
                    again.push(request);
                }
            }
        }
    }

    /// A request no longer waits for a stream: its dial has failed.
    ///
    /// # Panics
    /// It does not wait.
    pub fn give_up(&mut self, request: u32) {
        let at = self.waiting.iter().position(|waits| *waits == request).expect("it waits");
        self.waiting.remove(at);
    }

    /// Requests that wait for a stream.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.streams.len()
    }

    /// Dials started so far.
    #[must_use]
    pub const fn dials_started(&self) -> u64 {
        self.dials_started
    }

    /// Dials whose connection was closed unused.
    #[must_use]
    pub const fn dials_wasted(&self) -> u64 {
        self.dials_wasted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_fit_then_dial() {
        let mut transport = Transport::new(2);
        assert_eq!(transport.acquire(0), Some(0));
        assert_eq!(transport.acquire(1), Some(0));
        assert_eq!(transport.acquire(2), None);
        assert_eq!(transport.acquire(3), None);
        assert_eq!(transport.acquire(4), None);
        let (mut served, mut again) = (Vec::new(), Vec::new());
        // Three wait; the first dial brings two streams, the third request dials again.
        transport.dialled(&mut served, &mut again);
        assert_eq!((served.as_slice(), again.as_slice()), ([(2, 1), (3, 1)].as_slice(), [4].as_slice()));
        assert_eq!(transport.connections(), 2);
        transport.release(0);
        served.clear();
        again.clear();
        // A stream is free: the second dial's connection is closed at once, the waiter gets the stream.
        transport.dialled(&mut served, &mut again);
        assert_eq!((served.as_slice(), again.len()), ([(4, 0)].as_slice(), 0));
        assert_eq!((transport.connections(), transport.dials_wasted()), (2, 1));
    }

    #[test]
    fn who_gave_up_is_not_served() {
        let mut transport = Transport::new(1);
        for request in 0..4 {
            transport.acquire(request);
        }
        transport.give_up(2);
        let (mut served, mut again) = (Vec::new(), Vec::new());
        transport.dialled(&mut served, &mut again);
        assert_eq!((served.as_slice(), again.as_slice()), ([(1, 1)].as_slice(), [3].as_slice()));
    }

    /// W blocked requests cost at least W handshakes and about W + W²/200 in all.
    #[test]
    fn the_herd_grows_with_the_square() {
        let mut transport = Transport::new(100);
        let mut dials = 0u64;
        for request in 0..1_100 {
            if transport.acquire(request).is_none() {
                dials += 1;
            }
        }
        let mut done = 0;
        let (mut served, mut again) = (Vec::new(), Vec::new());
        while transport.waiting() > 0 {
            again.clear();
            transport.dialled(&mut served, &mut again);
            dials += again.len() as u64;
            done += 1;
        }
        assert_eq!(done, 10, "ten connections carry the thousand that waited");
        assert_eq!(dials, 1_000 + (900 + 800 + 700 + 600 + 500 + 400 + 300 + 200 + 100));
    }
}
