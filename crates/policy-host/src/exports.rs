//! The decision points of a component: what it exports of them, and how each is called.

use baton_policy::{
    DecisionPoint, DegradeInput, DetectionInput, ElectionInput, MaintenanceInput, PlacementInput,
    PromotionInput, Question, Rejection, RejoinInput, RetryInput,
};
use wasmtime::Store;
use wasmtime::component::{Component, Instance, InstancePre};

use crate::bindings::{
    VERSION, degrade, detection, election, maintenance, placement, promotion, rejoin, retry,
};
use crate::columns::verdicts;
use crate::sandbox::Sandbox;

/// A question that a sandboxed policy can be asked.
pub trait Sandboxed: Question {
    /// Asks an instance. None if the component does not export the decision point. What it answered may not even be a
    /// verdict that could be validated.
    #[doc(hidden)]
    fn call(
        &self,
        exports: &Exports,
        store: &mut Store<Sandbox>,
        instance: &Instance,
    ) -> Option<wasmtime::Result<Result<Self::Verdict, Rejection>>>;
}

macro_rules! exports {
    ($($point:ident: $question:ty, $own:expr;)+) => {
        /// What a component exports of the decision points.
        #[derive(Clone, Default)]
        pub struct Exports {
            $($point: Option<$point::GuestIndices>,)+
        }

        impl Exports {
            /// Looks a component through.
            ///
            /// # Errors
            /// If an interface has the name of a decision point and is none.
            pub(crate) fn of(component: &Component, pre: &InstancePre<Sandbox>) -> wasmtime::Result<Self> {
                let has = |point: DecisionPoint| {
                    component.get_export_index(None, &interface(point.name())).is_some()
                };
                Ok(Self {
                    $($point: has(<$question>::POINT)
                        .then(|| $point::GuestIndices::new(pre))
                        .transpose()?,)+
                })
            }

            /// The decision points, in the order in which people are told of them.
            pub(crate) fn points(&self) -> Vec<DecisionPoint> {
                let mut points = Vec::new();
                $(if self.$point.is_some() {
                    points.push(<$question>::POINT);
                })+
                points
            }

            /// Proves of an instance that every exported interface has the types it should have.
            ///
            /// # Errors
            /// The first that has not.
            pub(crate) fn check(&self, store: &mut Store<Sandbox>, instance: &Instance) -> wasmtime::Result<()> {
                $(self.$point.as_ref().map(|it| it.load(&mut *store, instance)).transpose()?;)+
                Ok(())
            }
        }

        $(impl Sandboxed for $question {
            fn call(
                &self,
                exports: &Exports,
                store: &mut Store<Sandbox>,
                instance: &Instance,
            ) -> Option<wasmtime::Result<Result<Self::Verdict, Rejection>>> {
                let indices = exports.$point.as_ref()?;
                let asked = indices
                    .load(&mut *store, instance)
                    .and_then(|guest| guest.call_decide(&mut *store, &self.into()));
                Some(asked.map(|answer| ($own)(self, answer)))
            }
        })+
    };
}

exports! {
    detection: DetectionInput, verdicts;
    election: ElectionInput, |_, answer| Ok(Into::into(answer));
    promotion: PromotionInput, |_, answer| Ok(Into::into(answer));
    degrade: DegradeInput, |_, answer| Ok(Into::into(answer));
    rejoin: RejoinInput, |_, answer| Ok(Into::into(answer));
    placement: PlacementInput, |_, answer| Ok(Into::into(answer));
    maintenance: MaintenanceInput, |_, answer| Ok(Into::into(answer));
    retry: RetryInput, |_, answer| Ok(Into::into(answer));
}

/// The name of an interface as components export it.
pub(crate) fn interface(name: &str) -> String {
    format!("baton:policy/{name}@{VERSION}")
}
