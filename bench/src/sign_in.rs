//! `sign-in`: whether the time of a refused sign-in tells if the address belongs to a user.

use std::error::Error;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use crate::SiteArgs;
use crate::api::post;
use crate::http::{Client, Site};
use crate::report::Verdict;

/// Below this probability of a difference by chance, the times tell the two apart.
const SIGNIFICANT: f64 = 0.001;

#[derive(Args)]
pub struct SignInArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// How many sign-ins with a wrong password, and how many with an unknown address
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(20..))]
    tries: u16,
}

/// Makes users, and tries to sign in, one try after the other, of both kinds in turn. The server must run with
/// `COIR_RATE_LIMITS=off`. Every address is new.
pub async fn run(args: SignInArgs) -> Result<Verdict, Box<dyn Error>> {
    let site = Site::from(args.site);
    let mut client = Client::connect(&site.server).await?;
    let tries = usize::from(args.tries);
    let run = std::process::id();
    println!("sign-in: {tries} wrong passwords and {tries} unknown addresses");
    // Both kinds of address have the same length.
    let address = |kind: char, n: usize| format!("{kind}{n:06}-{run}@example.com");
    for n in 0..tries {
        let account = json!({ "email": address('u', n), "password": "correct horse" });
        let status = post(&site, &mut client, "/users", &account).await?;
        if status != 201 {
            return Err(format!("the server answered a sign-up with {status}").into());
        }
    }
    let (mut wrong, mut unknown) = (Vec::with_capacity(tries), Vec::with_capacity(tries));
    for n in 0..tries {
        // The two kinds take turns at being first, so that neither follows the other's work more often.
        let kinds = if n % 2 == 0 { ['u', 'x'] } else { ['x', 'u'] };
        for kind in kinds {
            let account = json!({ "email": address(kind, n), "password": "wrong horse" });
            let begun = Instant::now();
            let status = post(&site, &mut client, "/users/login", &account).await?;
            let took = begun.elapsed().as_secs_f64();
            if status != 401 {
                return Err(format!("the server answered a wrong sign-in with {status}, not with 401; start it with COIR_RATE_LIMITS=off").into());
            }
            if kind == 'u' { &mut wrong } else { &mut unknown }.push(took);
        }
    }
    wrong.sort_by(f64::total_cmp);
    unknown.sort_by(f64::total_cmp);
    for (what, times) in [("wrong password", &wrong), ("unknown address", &unknown)] {
        let at = |part: usize| times[(times.len() - 1) * part / 100] * 1e3;
        println!(
            "{what:<22}p10 {:.2}   p50 {:.2}   p90 {:.2}   p99 {:.2} ms",
            at(10),
            at(50),
            at(90),
            at(99)
        );
    }
    let (larger, rank_p) = mann_whitney(&wrong, &unknown);
    let (distance, distance_p) = kolmogorov_smirnov(&wrong, &unknown);
    println!(
        "{:<22}p = {rank_p:.3}; a wrong password is the slower one in {:.1} % of pairs",
        "Mann–Whitney",
        larger * 100.0
    );
    println!("{:<22}p = {distance_p:.3}; D = {distance:.3}", "Kolmogorov–Smirnov");
    let is_told = rank_p < SIGNIFICANT || distance_p < SIGNIFICANT;
    Ok(if is_told { Verdict::Failures } else { Verdict::Clean })
}

/// Returns the part of all pairs in which the first is larger, and the probability that chance makes it differ so much from a
/// half (two-sided, by the normal approximation). Both must be sorted, and have 20 values or more.
fn mann_whitney(first: &[f64], second: &[f64]) -> (f64, f64) {
    let larger: f64 = first
        .iter()
        .map(|value| {
            let below = second.partition_point(|other| other < value);
            let equal = second[below..].partition_point(|other| other <= value);
            below as f64 + equal as f64 / 2.0
        })
        .sum();
    let (n, m) = (first.len() as f64, second.len() as f64);
    let z = (larger - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt();
    (larger / (n * m), normal_tails(z))
}

/// Returns the largest distance of the two distributions, and the probability that chance makes it so large. Both must be
/// sorted.
fn kolmogorov_smirnov(first: &[f64], second: &[f64]) -> (f64, f64) {
    let (n, m) = (first.len() as f64, second.len() as f64);
    let part = |values: &[f64], at: f64| values.partition_point(|value| *value <= at) as f64;
    let distance = first
        .iter()
        .chain(second)
        .map(|at| (part(first, *at) / n - part(second, *at) / m).abs())
        .fold(0.0, f64::max);
    let root = (n * m / (n + m)).sqrt();
    let x = (root + 0.12 + 0.11 / root) * distance;
    let terms = (1..=100).map(|k| {
        let k = f64::from(k);
        (if k % 2.0 == 1.0 { 2.0 } else { -2.0 }) * (-2.0 * k * k * x * x).exp()
    });
    (distance, if x < 0.2 { 1.0 } else { terms.sum::<f64>().clamp(0.0, 1.0) })
}

/// Returns the probability that a normal variable is at least so far from zero. The error is below 2e-7 (Abramowitz and
/// Stegun, 7.1.26).
fn normal_tails(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let terms = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    terms.iter().fold(0.0, |sum, term| sum * t + term) * t * (-x * x).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(from: f64) -> Vec<f64> {
        (0..500).map(|n| from + f64::from(n)).collect()
    }

    #[test]
    fn equal_times_are_not_told_apart_and_others_are() {
        let (half, p) = mann_whitney(&line(0.0), &line(0.0));
        assert!((half - 0.5).abs() < 1e-9 && p > 0.999, "{half} {p}");
        assert!(kolmogorov_smirnov(&line(0.0), &line(0.0)).1 > 0.999);
        let (larger, p) = mann_whitney(&line(50.0), &line(0.0));
        assert!(larger > 0.55 && p < SIGNIFICANT, "{larger} {p}");
        assert!(kolmogorov_smirnov(&line(70.0), &line(0.0)).1 < SIGNIFICANT);
    }

    #[test]
    fn the_figures_are_those_of_the_tables() {
        for (z, p) in [(1.959_964, 0.05), (-2.575_829, 0.01), (3.290_527, 0.001)] {
            assert!((normal_tails(z) - p).abs() < 1e-5, "{z}");
        }
        // The distance of 1.358 / √(nm/(n+m)) is that of 5 %.
        let shifted = line(43.0);
        let (distance, p) = kolmogorov_smirnov(&line(0.0), &shifted);
        assert!((distance - 0.086).abs() < 1e-9, "{distance}");
        assert!((0.04..0.06).contains(&p), "{p}");
    }
}
