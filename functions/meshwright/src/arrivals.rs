//! When the jobs of a load are to begin, decided before the first one does: an open loop waits for no answer.
//! Pure; it knows no clock.

use std::str::FromStr;
use std::time::Duration;

/// Most jobs of one load.
pub(crate) const JOBS_MAX: u64 = 100_000;
/// Most jobs per second: what one process sends without being late itself.
const PER_SECOND_MAX: f64 = 1_000.0;
/// One a day.
const PER_SECOND_MIN: f64 = 1.0 / 86_400.0;

/// Jobs per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate(f64);

/// Reads `5/s`, `30/m`, `600/h`; a bare number is per second.
impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let rate = per_second(text).filter(|rate| *rate > 0.0).map(Rate);
        rate.ok_or_else(|| format!("write 5/s, 30/m or 600/h; at most {PER_SECOND_MAX:.0}/s"))
    }
}

fn per_second(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    // Not what `f64` also reads: no sign, no exponent, no name.
    let is_plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let rate = number.parse::<f64>().ok().filter(|_| is_plain)? / seconds;
    (rate == 0.0 || (PER_SECOND_MIN..=PER_SECOND_MAX).contains(&rate)).then_some(rate)
}

/// From one rate to a higher one, evenly over the time of the load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ramp {
    from: f64,
    to: f64,
}

/// Reads `1..20`, `1..20/s`, `0..600/h`.
impl FromStr for Ramp {
    type Err = String;

    fn from_str(text: &str) -> Result<Ramp, String> {
        let read = || {
            let (rates, unit) = text.split_once('/').unwrap_or((text, "s"));
            let (from, to) = rates.split_once("..")?;
            let of = |rate: &str| per_second(&format!("{rate}/{unit}"));
            Some(Ramp { from: of(from)?, to: of(to)? })
        };
        let ramp = read().filter(|ramp| ramp.from < ramp.to);
        ramp.ok_or_else(|| format!("write 1..20 or 1..20/m, rising; at most {PER_SECOND_MAX:.0}/s"))
    }
}

impl From<Rate> for Ramp {
    fn from(Rate(rate): Rate) -> Ramp {
        Ramp { from: rate, to: rate }
    }
}

/// All beginnings of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Arrivals {
    ramp: Ramp,
    during_s: f64,
    jobs: u64,
}

impl Arrivals {
    /// As many as begin within this time; none if there are more than a load may have.
    pub(crate) fn during(ramp: Ramp, span: Duration) -> Option<Arrivals> {
        let during_s = span.as_secs_f64();
        // What is a whole number of jobs stays one, whatever the fractions say.
        let jobs = ((ramp.from + ramp.to) / 2.0 * during_s - 1e-6).ceil().max(1.0);
        (jobs <= JOBS_MAX as f64).then_some(Arrivals { ramp, during_s, jobs: jobs as u64 })
    }

    /// So many, over the time that they take at this rate.
    pub(crate) fn of_jobs(ramp: Ramp, jobs: u64) -> Arrivals {
        Arrivals { ramp, during_s: 2.0 * jobs as f64 / (ramp.from + ramp.to), jobs }
    }

    /// How many.
    pub(crate) fn jobs(&self) -> u64 {
        self.jobs
    }

    /// First and last rate.
    pub(crate) fn rates(&self) -> (f64, f64) {
        (self.ramp.from, self.ramp.to)
    }

    /// Whether the rate rises.
    pub(crate) fn is_ramp(&self) -> bool {
        self.ramp.from < self.ramp.to
    }

    /// From the first beginning to where one after the last would be.
    pub(crate) fn span(&self) -> Duration {
        Duration::from_secs_f64(self.during_s)
    }

    /// When the job of this number is to begin, after the first one; none behind the last.
    pub(crate) fn at(&self, number: u64) -> Option<Duration> {
        if number >= self.jobs {
            return None;
        }
        let slope = (self.ramp.to - self.ramp.from) / self.during_s;
        // Where the integral of the rate reaches the number, written so that it holds for a flat rate too.
        let root = (self.ramp.from.powi(2) + 2.0 * slope * number as f64).sqrt() + self.ramp.from;
        Some(if number == 0 { Duration::ZERO } else { Duration::from_secs_f64(2.0 * number as f64 / root) })
    }

    /// Seconds after which jobs begin at this rate.
    pub(crate) fn reaches_s(&self, rate: f64) -> f64 {
        let rise = self.ramp.to - self.ramp.from;
        if rise > 0.0 { ((rate - self.ramp.from) / rise).clamp(0.0, 1.0) * self.during_s } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_ramps_are_read_with_their_unit() {
        let rate = |text: &str| text.parse::<Rate>().ok().map(|Rate(rate)| rate);
        assert_eq!(
            [rate("5/s"), rate("30/m"), rate("0.5"), rate("900/h")].map(Option::unwrap_or_default),
            [5.0, 0.5, 0.5, 0.25]
        );
        for wrong in ["", "0", "-1/s", "5/d", "1001/s", "0.000001/s", "nan", "inf", "1e3", "5/s/s", "+5", "."]
        {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
        let ramp = |text: &str| text.parse::<Ramp>().ok().map(|ramp| (ramp.from, ramp.to));
        assert_eq!((ramp("1..20"), ramp("0..60/m")), (Some((1.0, 20.0)), Some((0.0, 1.0))));
        for wrong in ["", "20..1", "2..2", "1..", "..2", "1-20", "1..2000", "1/s..2/s"] {
            assert_eq!(ramp(wrong), None, "{wrong}");
        }
    }

    fn seconds(arrivals: &Arrivals) -> Vec<f64> {
        (0..).map_while(|n| arrivals.at(n)).map(|at| at.as_secs_f64()).collect()
    }

    #[test]
    fn a_rate_is_kept_evenly_and_a_number_of_jobs_takes_the_time_that_it_takes() {
        let five = Ramp { from: 5.0, to: 5.0 };
        let all = Arrivals::during(five, Duration::from_secs(1)).expect("few");
        assert_eq!(seconds(&all), [0.0, 0.2, 0.4, 0.6, 0.8]);
        assert_eq!(Arrivals::of_jobs(five, 5), all);
        let least = Arrivals::during(Ramp { from: 0.1, to: 0.1 }, Duration::from_secs(1)).expect("few");
        assert_eq!((least.jobs(), seconds(&least)), (1, vec![0.0]));
        assert_eq!(Arrivals::during(Ramp { from: 9.0, to: 9.0 }, Duration::from_secs(86_400)), None);
    }

    #[test]
    fn in_a_ramp_each_slice_of_time_has_as_many_as_its_rate_says() {
        let ramp = Ramp { from: 1.0, to: 20.0 };
        let all = Arrivals::during(ramp, Duration::from_secs(60)).expect("few");
        let at = seconds(&all);
        assert_eq!(at.len(), 630);
        assert!(at.windows(2).all(|two| two[0] < two[1]) && at[629] < 60.0);
        for from in [0.0, 15.0, 30.0, 50.0] {
            let found = at.iter().filter(|at| (from..from + 10.0).contains(*at)).count() as f64;
            let expect = 10.0 * (1.0 + 19.0 * (from + 5.0) / 60.0);
            assert!((found - expect).abs() <= 1.0, "{from}: {found} of {expect}");
        }
        assert!((all.reaches_s(10.5) - 30.0).abs() < 1e-9);
        assert_eq!((all.reaches_s(0.0), all.reaches_s(99.0)), (0.0, 60.0));
        let from_nothing = Arrivals::of_jobs(Ramp { from: 0.0, to: 2.0 }, 4);
        assert_eq!(seconds(&from_nothing)[..2], [0.0, 2.0]);
    }
}
