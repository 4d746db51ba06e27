//! The sandbox's side of the WIT interface: generated bindings, and every [`Policy`] as their implementation.
//!
//! One world for the manifest and one for each decision point, each with an export macro of its own, so that a policy
//! exports the subset it names.

mod columns;
mod convert;

use std::mem::ManuallyDrop;
use std::panic::PanicHookInfo;
use std::sync::Once;

use crate::Policy;

macro_rules! bindings {
    ($(#[$doc:meta])* $name:ident, $world:literal) => {
        $(#[$doc])*
        #[allow(unsafe_code, missing_docs)]
        pub mod $name {
            wit_bindgen::generate!({
                world: $world,
                path: "../wit/v0_1",
                with: { "baton:policy/types@0.1.0": crate::wasm::manifest::baton::policy::types },
                pub_export_macro: true,
            });
        }
    };
}

/// The bindings of the manifest, and the types and the log that all share.
#[allow(unsafe_code, missing_docs)]
pub mod manifest {
    wit_bindgen::generate!({
        world: "described",
        path: "../wit/v0_1",
        generate_unused_types: true,
        pub_export_macro: true,
    });
}
bindings!(
    /// The bindings of `detection`.
    detection,
    "detects"
);
bindings!(
    /// The bindings of `election`.
    election,
    "elects"
);
bindings!(
    /// The bindings of `promotion`.
    promotion,
    "promotes"
);
bindings!(
    /// The bindings of `degrade`.
    degrade,
    "degrades"
);
bindings!(
    /// The bindings of `rejoin`.
    rejoin,
    "rejoins"
);
bindings!(
    /// The bindings of `placement`.
    placement,
    "places"
);
bindings!(
    /// The bindings of `maintenance`.
    maintenance,
    "maintains"
);
bindings!(
    /// The bindings of `retry`.
    retry,
    "retries"
);

use degrade::exports::baton::policy::degrade as degrade_wit;
use detection::exports::baton::policy::detection as detection_wit;
use election::exports::baton::policy::election as election_wit;
use maintenance::exports::baton::policy::maintenance as maintenance_wit;
use manifest::baton::policy::log;
use manifest::exports::baton::policy::manifest as manifest_wit;
use placement::exports::baton::policy::placement as placement_wit;
use promotion::exports::baton::policy::promotion as promotion_wit;
use rejoin::exports::baton::policy::rejoin as rejoin_wit;
use retry::exports::baton::policy::retry as retry_wit;

impl<P: Policy + Default> manifest_wit::Guest for P {
    fn describe() -> manifest_wit::Description {
        ready::<P>().describe().into()
    }

    fn check(settings: Vec<(String, String)>) -> Result<(), String> {
        ready::<P>().check(&settings.into_iter().collect())
    }
}

impl<P: Policy + Default> detection_wit::Guest for P {
    fn decide(input: detection_wit::Input) -> detection_wit::Verdicts {
        // The sandbox ends with the call: nothing is gained by taking a thousand nodes apart before.
        let input = ManuallyDrop::new(input.into());
        let verdicts = ManuallyDrop::new(ready::<P>().detect(&input));
        verdicts.as_slice().into()
    }
}

impl<P: Policy + Default> election_wit::Guest for P {
    fn decide(input: election_wit::Input) -> election_wit::Verdict {
        ready::<P>().elect(&input.into()).into()
    }
}

impl<P: Policy + Default> promotion_wit::Guest for P {
    fn decide(input: promotion_wit::Input) -> promotion_wit::Verdict {
        ready::<P>().promote(&input.into()).into()
    }
}

impl<P: Policy + Default> degrade_wit::Guest for P {
    fn decide(input: degrade_wit::Input) -> degrade_wit::Verdict {
        ready::<P>().degrade(&input.into()).into()
    }
}

impl<P: Policy + Default> rejoin_wit::Guest for P {
    fn decide(input: rejoin_wit::Input) -> rejoin_wit::Verdict {
        ready::<P>().rejoin(&input.into()).into()
    }
}

impl<P: Policy + Default> placement_wit::Guest for P {
    fn decide(input: placement_wit::Input) -> placement_wit::Verdict {
        ready::<P>().place(&input.into()).into()
    }
}

impl<P: Policy + Default> maintenance_wit::Guest for P {
    fn decide(input: maintenance_wit::Input) -> maintenance_wit::Verdict {
        ready::<P>().maintain(&input.into()).into()
    }
}

impl<P: Policy + Default> retry_wit::Guest for P {
    fn decide(input: retry_wit::Input) -> retry_wit::Verdict {
        ready::<P>().retry(&input.into()).into()
    }
}

/// The policy, with its panics reported: a panic ends in a trap, which says nothing by itself.
fn ready<P: Default>() -> P {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
            log::log(log::Level::Error, &panic.to_string());
        }));
    });
    P::default()
}
