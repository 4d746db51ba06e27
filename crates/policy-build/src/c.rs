//! Bindings for a policy in C: what it exports and imports, as a header and the code behind it.

use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::{Resolve, SourceMap};

use crate::error::BuildError;

macro_rules! wit {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../../policies/wit/v0_1/", $name)))),+]
    };
}

/// The interface of policies.
const WIT: [(&str, &str); 12] = wit![
    "types.wit",
    "log.wit",
    "manifest.wit",
    "detection.wit",
    "election.wit",
    "promotion.wit",
    "degrade.wit",
    "rejoin.wit",
    "placement.wit",
    "maintenance.wit",
    "retry.wit",
    "worlds.wit",
];

/// The files that a policy in C is compiled with, by name: `policy.h`, `policy.c`, and `policy_component_type.o`, which
/// tells the component what it is. The policy exports the manifest and these decision points.
///
/// # Errors
/// [`BuildError::NoBindings`] for a decision point that the interface does not have.
pub fn c_bindings(decision_points: &[String]) -> Result<Vec<(String, Vec<u8>)>, BuildError> {
    let failed = |error: &dyn std::fmt::Display| BuildError::NoBindings(error.to_string());
    let mut resolve = Resolve::default();
    let mut interface = SourceMap::default();
    for (name, text) in WIT {
        interface.push_str(name, text);
    }
    let interface = interface.parse().map_err(|(_, error)| failed(&error))?;
    let exports: Vec<String> = std::iter::once("manifest")
        .chain(decision_points.iter().map(String::as_str))
        .map(|name| format!("export baton:policy/{name}@0.1.0;"))
        .collect();
    let world = format!(
        "package author:guest; world policy {{ import baton:policy/log@0.1.0; {} }}",
        exports.join(" ")
    );
    let mut guest = SourceMap::default();
    guest.push_str("policy.wit", world);
    let guest = guest.parse().map_err(|(_, error)| failed(&error))?;
    let package = resolve.push_groups(guest, vec![interface]).map_err(|error| failed(&error))?;
    let world = resolve.select_world(&[package], Some("policy")).map_err(|error| failed(&error))?;
    let mut files = Files::default();
    let generated = wit_bindgen_c::Opts::default().build().generate(&mut resolve, world, &mut files);
    generated.map_err(|error| failed(&format!("{error:#}")))?;
    Ok(files.iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_have_what_a_policy_exports() {
        let files = c_bindings(&["detection".to_owned()]).unwrap();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["policy.c", "policy.h", "policy_component_type.o"]);
        let header = String::from_utf8(files[1].1.clone()).unwrap();
        assert!(header.contains("void exports_baton_policy_detection_decide("), "{header}");
        assert!(!header.contains("exports_baton_policy_election_decide"), "{header}");
        let error = c_bindings(&["rejoice".to_owned()]).unwrap_err();
        assert!(matches!(error, BuildError::NoBindings(_)), "{error}");
    }
}
