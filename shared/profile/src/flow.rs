//! The most that lanes let through, as a fluid: a linear program, solved exactly. Read by `capacity` and
//! `predict`; it knows no stages by name and measures nothing.
//!
//! ```text
//! maximise X  with   sum_p y(p,s) >= demand(s) X      for each stage s      items per second
//!                    sum_s y(p,s) seconds(p,s) <= lanes(p)  for each pool p
//! ```
//! Where every pool serves one stage this is `min_s lanes(s) / seconds(s)`; where pools are shared it is what
//! the best schedule reaches. More lanes or shorter times never lower X.

/// Lanes that serve some stages.
#[derive(Clone, Debug)]
pub(crate) struct Supply {
    /// How many.
    pub(crate) lanes: f64,
    /// Place of a stage in the demand, and lane-seconds of one item there.
    pub(crate) serves: Vec<(usize, f64)>,
}

/// What counts as zero beside one.
const ZERO: f64 = 1e-11;
/// More pivots than this do not happen: there are a few dozen columns.
const PIVOTS_MAX: usize = 10_000;
/// Times below a nanosecond are measured wrongly.
const SECONDS_MIN: f64 = 1e-9;

/// X, in items per second: 0 if a stage with demand is served by nobody, infinite without demand.
pub(crate) fn throughput(demand: &[f64], supplies: &[Supply]) -> f64 {
    let wanted: Vec<usize> = (0..demand.len()).filter(|s| demand[*s] > 0.0).collect();
    if wanted.is_empty() {
        return f64::INFINITY;
    }
    let serving =
        |s: &usize| supplies.iter().any(|of| of.lanes > 0.0 && of.serves.iter().any(|(t, _)| t == s));
    if !wanted.iter().all(serving) {
        return 0.0;
    }
    let each = supplies.iter().flat_map(|of| of.serves.iter().map(|(_, seconds)| *seconds));
    let unit = each.fold(SECONDS_MIN, f64::max);
    let most = demand.iter().copied().fold(0.0, f64::max);
    let (rows, columns) = program(demand, most, &wanted, supplies, unit);
    maximum(rows, columns) / unit / most
}

/// Rows of `coefficients | slacks | right side`; column 0 is X.
fn program(
    demand: &[f64],
    most: f64,
    wanted: &[usize],
    supplies: &[Supply],
    unit: f64,
) -> (Vec<Vec<f64>>, usize) {
    let flows = supplies.iter().enumerate().flat_map(|(p, of)| {
        let served = of.serves.iter().filter(|(s, _)| wanted.contains(s));
        served.map(move |(s, seconds)| (p, *s, seconds.max(SECONDS_MIN) / unit))
    });
    let flows: Vec<(usize, usize, f64)> = flows.collect();
    let (height, width) = (wanted.len() + supplies.len(), 1 + flows.len());
    let mut rows = vec![vec![0.0; width + height + 1]; height];
    for (n, s) in wanted.iter().enumerate() {
        rows[n][0] = demand[*s] / most;
    }
    for (at, (p, s, seconds)) in flows.iter().enumerate() {
        let stage = wanted.iter().position(|of| of == s).expect("only wanted stages flow");
        rows[stage][1 + at] = -1.0;
        rows[wanted.len() + p][1 + at] = *seconds;
    }
    for (p, of) in supplies.iter().enumerate() {
        rows[wanted.len() + p][width + height] = of.lanes.max(0.0);
    }
    for (n, row) in rows.iter_mut().enumerate() {
        row[width + n] = 1.0;
    }
    (rows, width + height)
}

/// Primal simplex from the origin, which is feasible; Bland's rule, hence it ends.
fn maximum(mut rows: Vec<Vec<f64>>, columns: usize) -> f64 {
    let mut basis: Vec<usize> = (columns - rows.len()..columns).collect();
    let mut gain = vec![0.0; columns + 1];
    gain[0] = 1.0;
    for _ in 0..PIVOTS_MAX {
        let Some(enter) = (0..columns).find(|c| gain[*c] > ZERO) else { break };
        let ratio = |r: &usize| rows[*r][columns] / rows[*r][enter];
        let able = (0..rows.len()).filter(|r| rows[*r][enter] > ZERO);
        let leave = able.min_by(|a, b| ratio(a).total_cmp(&ratio(b)).then(basis[*a].cmp(&basis[*b])));
        let Some(leave) = leave else { return f64::INFINITY };
        let scale = rows[leave][enter];
        rows[leave].iter_mut().for_each(|value| *value /= scale);
        let pivot = rows[leave].clone();
        let others = rows.iter_mut().enumerate().filter(|(r, _)| *r != leave).map(|(_, row)| row);
        for row in others.chain([&mut gain]) {
            let factor = row[enter];
            if factor != 0.0 {
                row.iter_mut().zip(&pivot).for_each(|(value, own)| *value -= factor * own);
            }
        }
        basis[leave] = enter;
    }
    -gain[columns]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::config;
    use proptest::prelude::*;

    fn supply(lanes: f64, serves: &[(usize, f64)]) -> Supply {
        Supply { lanes, serves: serves.to_vec() }
    }

    fn check(demand: &[f64], supplies: &[Supply], expect: f64) {
        let found = throughput(demand, supplies);
        let near = (found - expect).abs() <= 1e-9 * expect || found == expect;
        assert!(near, "{demand:?} {supplies:?}: {found}, not {expect}");
    }

    #[test]
    fn pools_of_their_own_let_through_what_the_narrowest_does() {
        let own = [supply(2.0, &[(0, 1.0)]), supply(1.0, &[(1, 4.0)]), supply(3.0, &[(2, 0.001)])];
        check(&[1.0, 1.0, 1.0], &own, 0.25);
        check(&[1.0, 0.0, 1.0], &own, 2.0);
        check(&[1.0, 0.1, 1.0], &own, 2.0);
        check(&[0.0, 0.0, 0.0], &own, f64::INFINITY);
        check(&[1.0, 1.0, 1.0, 1.0], &own, 0.0);
    }

    #[test]
    fn a_shared_pool_is_shared_by_the_seconds_of_each_stage() {
        check(&[1.0, 1.0], &[supply(2.0, &[(0, 1.0), (1, 3.0)])], 0.5);
        // One lane for the second stage alone: 4 X = 3.
        check(&[1.0, 1.0], &[supply(2.0, &[(0, 1.0), (1, 3.0)]), supply(1.0, &[(1, 3.0)])], 0.75);
        // A device that is good at one thing does that.
        check(&[1.0, 1.0], &[supply(1.0, &[(0, 1.0), (1, 9.0)]), supply(1.0, &[(0, 9.0), (1, 1.0)])], 1.0);
    }

    /// Lanes and seconds of pools that serve one stage each.
    fn own() -> impl Strategy<Value = Vec<(f64, f64)>> {
        prop::collection::vec((1.0f64..9.0, 0.001f64..100.0), 1..6)
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn one_pool_per_stage_is_the_closed_form(own in own()) {
            let each = own.iter().enumerate();
            let supplies: Vec<Supply> =
                each.map(|(s, (lanes, seconds))| supply(*lanes, &[(s, *seconds)])).collect();
            let expect = own.iter().map(|(lanes, seconds)| lanes / seconds).fold(f64::INFINITY, f64::min);
            let found = throughput(&vec![1.0; own.len()], &supplies);
            prop_assert!((found - expect).abs() <= 1e-9 * expect, "{} {}", found, expect);
        }

        /// Hall's condition, for devices that are equally fast: the narrowest set of stages bounds.
        #[test]
        fn shared_pools_are_bounded_by_the_narrowest_set_of_stages(
            seconds in prop::collection::vec(0.01f64..10.0, 4),
            pools in prop::collection::vec((1.0f64..5.0, 1usize..16), 1..6),
        ) {
            let serves = |set: usize| (0..4).filter(|s| set >> s & 1 == 1).map(|s| (s, seconds[s])).collect();
            let supplies: Vec<Supply> =
                pools.iter().map(|(lanes, set)| Supply { lanes: *lanes, serves: serves(*set) }).collect();
            let of_set = |set: usize| {
                let able = pools.iter().filter(|(_, has)| has & set != 0);
                let lanes: f64 = able.map(|(lanes, _)| *lanes).sum();
                let need: f64 = (0..4).filter(|s| set >> s & 1 == 1).map(|s| seconds[s]).sum();
                lanes / need
            };
            let expect = (1..16).map(of_set).fold(f64::INFINITY, f64::min);
            let found = throughput(&[1.0; 4], &supplies);
            prop_assert!((found - expect).abs() <= 1e-7 * expect, "{} {}", found, expect);
        }

        #[test]
        fn another_pool_never_lowers_the_throughput(
            table in prop::collection::vec(
                (1.0f64..5.0, prop::array::uniform4(0.01f64..10.0), 1usize..16),
                2..6,
            ),
        ) {
            let pool = |(lanes, seconds, set): &(f64, [f64; 4], usize)| Supply {
                lanes: *lanes,
                serves: (0..4).filter(|s| set >> s & 1 == 1).map(|s| (s, seconds[s])).collect(),
            };
            let all: Vec<Supply> = table.iter().map(pool).collect();
            let (fewer, more) = (throughput(&[1.0; 4], &all[1..]), throughput(&[1.0; 4], &all));
            prop_assert!(more >= fewer * (1.0 - 1e-9), "{} {}", fewer, more);
        }
    }
}
