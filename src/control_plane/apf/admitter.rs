//! Who is let into the API server, by whichever rule the server is configured with.
//!
//! One enum over API priority and fairness, the plain in-flight limits, and no limit at all, so that the server
//! model has one code path. See [`Apf`] for what each method promises.

use super::{
    Admission, Apf, FlowId, Hold, Identity, Linger, PlainInFlight, RequestKind, ResourceClass, Width,
};

/// The admission rule of an API server.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub enum Admitter {
    /// API priority and fairness (the default).
    Apf(Box<Apf>),
    /// `--enable-priority-and-fairness=false`.
    Plain(PlainInFlight),
    /// Neither: both in-flight flags are 0.
    Unlimited,
}

const MASTERS: FlowId = FlowId(0);
const OTHERS: FlowId = FlowId(1);

impl Admitter {
    /// The flow of a client's requests of one class in one namespace: [`Apf::flow`].
    pub fn flow(&mut self, identity: Identity, class: ResourceClass, namespace: &str) -> FlowId {
        match self {
            Admitter::Apf(apf) => apf.flow(identity, class, namespace),
            Admitter::Plain(_) | Admitter::Unlimited if identity == Identity::Masters => MASTERS,
            Admitter::Plain(_) | Admitter::Unlimited => OTHERS,
        }
    }

    /// After a restore: [`Apf::keep_inputs_of`].
    pub fn keep_inputs_of(&mut self, built: Self) {
        if let (Admitter::Apf(apf), Admitter::Apf(built)) = (self, built) {
            apf.keep_inputs_of(*built);
        }
    }

    /// The widest request a flow's level allows: [`Apf::max_seats`].
    pub fn max_seats(&self, flow: FlowId) -> u32 {
        match self {
            Admitter::Apf(apf) => apf.max_seats(flow),
            Admitter::Plain(_) | Admitter::Unlimited => 0,
        }
    }

    /// A request arrives: [`Apf::arrive`]. `kind` matters to the plain limits only, `width` to priority and
    /// fairness only.
    pub fn arrive(
        &mut self,
        now: u64,
        flow: FlowId,
        request: u32,
        kind: RequestKind,
        width: Width,
        ready: &mut Vec<u32>,
    ) -> Admission {
        match self {
            Admitter::Apf(apf) => apf.arrive(now, flow, request, width, ready),
            Admitter::Plain(plain) => plain.arrive(request, kind, flow == MASTERS),
            Admitter::Unlimited => Admission::Execute,
        }
    }

    /// The handler returned: [`Apf::finish`].
    pub fn finish(&mut self, now: u64, request: u32, ready: &mut Vec<u32>) -> Option<Linger> {
        match self {
            Admitter::Apf(apf) => apf.finish(now, request, ready),
            Admitter::Plain(plain) => {
                plain.finish(request);
                None
            }
            Admitter::Unlimited => None,
        }
    }

    /// The time of a [`Linger`] has come: [`Apf::release`].
    pub fn release(&mut self, now: u64, hold: Hold, ready: &mut Vec<u32>) {
        if let Admitter::Apf(apf) = self {
            apf.release(now, hold, ready);
        }
    }

    /// Since when a request has waited in a queue: [`Apf::waits_since`].
    pub fn waits_since(&self, request: u32) -> Option<u64> {
        match self {
            Admitter::Apf(apf) => apf.waits_since(request),
            Admitter::Plain(_) | Admitter::Unlimited => None,
        }
    }

    /// The queue wait limit of a request has passed: [`Apf::expire`].
    pub fn expire(&mut self, now: u64, request: u32, arrived: u64) -> Option<u32> {
        match self {
            Admitter::Apf(apf) => apf.expire(now, request, arrived),
            Admitter::Plain(_) | Admitter::Unlimited => None,
        }
    }

    /// Adjusts the levels' limits, every [`ADJUST_PERIOD_NS`](super::ADJUST_PERIOD_NS): [`Apf::adjust`].
    pub fn adjust(&mut self, now: u64, ready: &mut Vec<u32>) {
        if let Admitter::Apf(apf) = self {
            apf.adjust(now, ready);
        }
    }

    /// Whether [`adjust`](Self::adjust) does anything.
    pub fn adjusts(&self) -> bool {
        matches!(self, Admitter::Apf(_))
    }
}
