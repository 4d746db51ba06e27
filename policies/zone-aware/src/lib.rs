//! A policy that keeps primaries and the master aggregator in a chosen zone, as far as the cluster allows.
//!
//! A zone is chosen because something else is there: the applications, or the better network. Whatever is promoted
//! elsewhere works, only farther away; so the zone orders what is safe, and never makes anybody wait for it for long.
//!
//! * Promotion: candidates of `preferred_group` first, each part in classic's order.
//! * Election: `preferred_voters` campaign when classic would; the others give them `stagger_ms`, if one of them answers,
//!   and never more than half of the election timeout.
//!
//! Not here: `detection` and `degrade`, where a zone is no argument: the dead are dead wherever they are, and with two
//! copies every replica is the only one of its zone. Nor the zones of voters, which the input does not hold.

mod election;
mod promotion;
mod voters;

use baton_policy_sdk::{
    Description, ElectionInput, ElectionVerdict, NumberSetting, Policy, PromotionInput, PromotionVerdict,
    Settings, export_policy,
};

use crate::voters::VotersSetting;

/// Where primaries are to be.
const PREFERRED_GROUP: NumberSetting = NumberSetting {
    name: "preferred_group",
    default: 0,
    range: 0..=u32::MAX,
    doc: "The availability group whose leaves are promoted before those of any other; 0 is none.",
};
/// Who is to be master aggregator.
const PREFERRED_VOTERS: VotersSetting = VotersSetting {
    name: "preferred_voters",
    doc: "The ids of the voting members that campaign before all others, such as '2,3'; empty is none.",
};
/// How much later the others campaign.
const STAGGER_MS: NumberSetting = NumberSetting {
    name: "stagger_ms",
    default: 2_000,
    range: 0..=600_000,
    doc: "Milliseconds by which other voting members campaign later while a preferred one answers; never more than half \
          of consensus_election_timeout.",
};

/// The policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ZoneAware;

impl Policy for ZoneAware {
    fn describe(&self) -> Description {
        Description {
            name: "zone-aware".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: vec![PREFERRED_GROUP.doc(), PREFERRED_VOTERS.doc(), STAGGER_MS.doc()],
        }
    }

    fn check(&self, settings: &Settings) -> Result<(), String> {
        PREFERRED_GROUP.check(settings)?;
        PREFERRED_VOTERS.check(settings)?;
        STAGGER_MS.check(settings)
    }

    fn elect(&self, input: &ElectionInput) -> ElectionVerdict {
        election::elect(input)
    }

    fn promote(&self, input: &PromotionInput) -> PromotionVerdict {
        promotion::promote(input)
    }
}

export_policy!(ZoneAware: election, promotion);
