//! Requests between the server's door and its handlers, event by event.
use super::*;
use crate::control_plane::apf::{Apf, Identity, ResourceClass};
use crate::control_plane::etcd::EtcdSettings;
use crate::cost::ProfileLibrary;
use crate::engine::Streams;

/// A server with etcd on a host of one core of this speed, and the flow of some user.
fn server(speed_ppm: u32) -> (Kernel, ControlPlane, FlowId) {
    let mut kernel = Kernel::new();
    let host = kernel.add_host("h", 1, speed_ppm);
    let mut process = |name: &str| {
        let profile = ProfileLibrary::built_in().load(name).unwrap();
        kernel.add_process(name, host, None, Meter::new(profile))
    };
    let (process, etcd) = (process("apiserver-1.36"), process("etcd-3.6"));
    let settings = EtcdSettings { fsync: None, members: 1, peer_rtt_ns: 0 };
    let etcd = Etcd::new(&mut kernel, etcd, settings, Streams::new(1).stream("etcd.fsync")).unwrap();
    let admitter = Admitter::Apf(Box::new(Apf::with_defaults(10)));
    let mut plane = ControlPlane::with_server(&mut kernel, ServerParts { process, admitter, etcd }).unwrap();
    let flow = plane.admitter().unwrap().flow(Identity::User("u"), ResourceClass::Other, "");
    (kernel, plane, flow)
}

/// `getRequestWaitContext` in `filters/priority-and-fairness.go` of the API server: a request leaves its queue when a quarter of
/// its 60 s has passed since the server received it, however late it came into the queue.
#[test]
fn the_time_in_a_queue_counts_from_when_the_server_received_the_request() {
    let (mut kernel, mut plane, flow) = server(1_000_000);
    let client = plane.add_client(&mut kernel, "c", None, 0, TokenBucket::unlimited(), flow);
    // All were received at 1 s; the server has read them at 7 s.
    kernel.at(7 * SECOND, Event::LimitsAdjusted);
    assert!(kernel.next_event().is_some());
    assert_eq!(kernel.now(), 7 * SECOND);
    for id in 0..100 {
        plane.requests.push(Request {
            pod: 0,
            node: 0,
            connection: 0,
            dial: 0,
            client: client as u8,
            verb: Verb::GetPod,
            attempts: 0,
            ingress_charged: true,
            refusal: None,
            place: Place::Server,
            caller: Caller::Waits,
            failed: false,
            arrived_ns: SECOND,
        });
        plane.admit(&mut kernel, id);
        if plane.queued() > 0 {
            break;
        }
    }
    assert_eq!(plane.queued(), 1);
    while let Some(event) = kernel.next_event() {
        if let Event::Request { id, what: what @ RequestEvent::QueueTimeout } = event {
            assert_eq!(kernel.now(), 16 * SECOND);
            plane.on_request_event(&mut kernel, id, what);
            assert_eq!(plane.queued(), 0, "it got 429");
            return;
        }
    }
    panic!("it waits for ever");
}

/// `TLSHandshakeTimeout` of net/http's Transport is 10 s in client-go. A request whose own dial fails gets the error, and client-go sends a
/// POST that failed on its way not again.
#[test]
fn a_handshake_that_is_not_done_in_ten_seconds_fails_the_request_that_waits_for_it() {
    // So slow that no handshake is done in time.
    let (mut kernel, mut plane, flow) = server(1);
    let transport = plane.add_transport(&mut kernel, None, 1);
    let client = plane.add_client(&mut kernel, "c", None, transport, TokenBucket::unlimited(), flow);
    // The first takes the only stream, the second dials.
    for pod in [1, 2] {
        plane.submit(&mut kernel, client, Verb::Bind, pod, 0);
    }
    assert_eq!(plane.waiting_for_streams(), 1);
    while let Some(event) = kernel.next_event() {
        if let Event::Request { id, what } = event {
            assert_eq!(what, RequestEvent::DialTimeout);
            plane.on_request_event(&mut kernel, id, what);
            break;
        }
    }
    assert_eq!(kernel.now(), 10 * SECOND);
    assert_eq!(plane.waiting_for_streams(), 0);
    let answered: Vec<(PodId, bool)> = std::iter::from_fn(|| plane.next_outcome())
        .filter_map(|outcome| match outcome {
            Outcome::Answered { pod, ok, .. } => Some((pod, ok)),
            _ => None,
        })
        .collect();
    assert_eq!(answered, [(2, false)]);
}
