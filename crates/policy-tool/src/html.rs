//! The report of the lab as a page: the table, and of each scenario a timeline of its first seed.

use baton_sim::lab::{Measured, Scenario};

use crate::sim::{Lab, seconds};

/// How wide a timeline is.
const WIDTH: u64 = 900;

/// Microseconds of a millisecond.
const US: u64 = 1_000;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222}\
table{border-collapse:collapse;width:100%}td,th{padding:.25rem .5rem;border-bottom:1px solid #ddd;text-align:left}\
td.n{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#b00020;font-weight:600}\
svg{width:100%;height:auto;display:block;margin:.3rem 0}details{margin:.3rem 0 1rem}code{font-size:13px}\
h2{margin:2rem 0 .2rem;font-size:1.1rem}p{margin:.2rem 0}";

/// The whole page; it needs nothing else.
pub(crate) fn page(scenarios: &[Scenario], labs: &[Lab]) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Policy lab</title><style>{STYLE}</style>\
         <h1>Policy lab</h1><p>3 aggregators, 4 leaves, 8 partitions, heartbeats every 150 ms. Seconds.</p>"
    );
    for lab in labs {
        html.push_str(&format!("<p>{}: <code>{}</code></p>", escaped(&lab.policy), escaped(&lab.hash)));
    }
    html.push_str(&table(scenarios, labs));
    for (number, scenario) in scenarios.iter().enumerate() {
        html.push_str(&format!("<h2>{}</h2><p>{}</p>", escaped(&scenario.name), escaped(&scenario.about)));
        for lab in labs {
            if let Some(sample) = lab.samples.get(number) {
                html.push_str(&timeline(&lab.policy, scenario, sample));
            }
        }
    }
    html
}

fn table(scenarios: &[Scenario], labs: &[Lab]) -> String {
    let mut html = String::from(
        "<table><tr><th>scenario<th>policy<th>noticed<th>detection<th>p99<th>write gap<th>p99<th>MA gap<th>p99<th>needless<th>rules",
    );
    for number in 0..scenarios.len() {
        for row in labs.iter().filter_map(|lab| lab.rows.get(number).map(|row| (lab, row))) {
            let (lab, row) = row;
            html.push_str(&format!("<tr><td>{}<td>{}", escaped(&row.scenario), escaped(&lab.policy)));
            let bad = if row.wanted && row.noticed < row.seeds { " class=\"bad\"" } else { "" };
            let noticed =
                if row.wanted { format!("{} of {}", row.noticed, row.seeds) } else { "-".to_owned() };
            html.push_str(&format!("<td{bad}>{noticed}"));
            for spread in [row.detection_ms, row.write_gap_ms, row.master_gap_ms] {
                let (median, p99) = (seconds(spread.median), seconds(spread.p99));
                html.push_str(&format!("<td class=\"n\">{median}<td class=\"n\">{p99}"));
            }
            let bad = if row.needless > 0 { " bad" } else { "" };
            html.push_str(&format!("<td class=\"n{bad}\">{}", row.needless));
            html.push_str(match (row.broken.is_empty(), row.restless) {
                (false, _) => "<td class=\"bad\">broken",
                (true, 0) => "<td>held",
                (true, _) => "<td class=\"bad\">held, not at rest",
            });
        }
    }
    html + "</table>"
}

/// A line with a mark for everything that happened; the list of it unfolds.
fn timeline(policy: &str, scenario: &Scenario, sample: &Measured) -> String {
    let until_ms = (scenario.until / US).max(1);
    let at = |ms: u64| 10 + ms.min(until_ms) * (WIDTH - 20) / until_ms;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} 46\" role=\"img\"><line x1=\"10\" y1=\"24\" x2=\"{}\" y2=\"24\" stroke=\"#999\"/>\
         <text x=\"10\" y=\"12\" font-size=\"12\">{}: detection {} s, write gap {} s, MA gap {} s</text>",
        WIDTH - 10,
        escaped(policy),
        seconds(sample.detection_ms.values().copied().max()),
        seconds(Some(sample.write_gap_ms)),
        seconds(Some(sample.master_gap_ms)),
    );
    let mut list = String::new();
    for moment in &sample.moments {
        let colour = if moment.what.contains("without need") { "#b00020" } else { "#1a66c2" };
        svg.push_str(&format!(
            "<circle cx=\"{}\" cy=\"24\" r=\"5\" fill=\"{colour}\"><title>{} s: {}</title></circle>",
            at(moment.at_ms),
            seconds(Some(moment.at_ms)),
            escaped(&moment.what)
        ));
        list.push_str(&format!("<li>{} s: {}", seconds(Some(moment.at_ms)), escaped(&moment.what)));
    }
    svg.push_str(&format!(
        "<text x=\"10\" y=\"44\" font-size=\"11\">0</text><text x=\"{}\" y=\"44\" font-size=\"11\" text-anchor=\"end\">{} s</text></svg>",
        WIDTH - 10,
        until_ms / 1_000
    ));
    format!(
        "{svg}<details><summary>{} moments of the first seed</summary><ul>{list}</ul></details>",
        sample.moments.len()
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_markup() {
        let scenario = Scenario::parse("<b>", "# It is \"bold\" & brief.\nuntil 1s\n").unwrap();
        let html = page(&[scenario], &[]);
        assert!(html.contains("<h2>&lt;b&gt;</h2><p>It is &quot;bold&quot; &amp; brief.</p>"), "{html}");
    }
}
