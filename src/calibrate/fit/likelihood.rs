//! Profile likelihood: for each constant, how much worse the best fit gets as the constant is held away from its fitted value.
//!
//! The quadratic interval comes from the curvature at the fit and is right where simulated quantities are straight lines in the
//! logarithms of the costs. They bend where a queue fills or a limit takes over. The profile asks the simulation itself: the constant
//! is held at a distance, the others are fitted again (to where the curvature expects them, then one Gauss-Newton step with the slopes
//! of the fit), and the objective (robust misfit of all runs and the prior's) is taken there. The interval ends where it has grown by
//! what the quadratic interval's ends would make it grow, found by a secant on its square root, which a quadratic makes a straight line.
//!
//! Objectives are differences of simulations with common seeds; what noise is left in them makes an end a few percent uncertain.
//!
//! Cost: 8 x runs x seeds simulations a constant.
use rayon::prelude::*;

use super::super::linear::{Matrix, cholesky, dot, forward};
use super::{CalibrateError, HUBER, LARGEST_MOVE, Linear, Problem};

/// An end is looked for within this factor of the quadratic one.
const FARTHEST: f64 = 2.5;

/// Misfit of one run with Huber's loss on its deviation, in squared standard deviations.
fn misfit(white: &[f64]) -> f64 {
    let m = white.len() as f64;
    let distance = libm::sqrt(dot(white, white) / m);
    if distance <= HUBER { m * distance * distance } else { m * (2.0 * HUBER * distance - HUBER * HUBER) }
}

pub(super) struct Likelihood<'a> {
    pub problem: &'a Problem<'a>,
    pub linear: &'a [Linear],
    pub theta: &'a [f64],
    pub covariance: &'a Matrix,
    /// Growth of the objective at the ends.
    pub growth: f64,
}

impl Likelihood<'_> {
    /// Measured less simulated, by run, in the rows of the fit.
    fn residuals(&self, theta: &[f64]) -> Result<Vec<Vec<f64>>, CalibrateError> {
        let profile = self.problem.profile(theta);
        let runs: Vec<(&super::Prepared<'_>, &Linear)> = self.problem.runs.iter().zip(self.linear).collect();
        runs.into_par_iter()
            .map(|(run, line)| {
                let simulated = self.problem.simulate(run, &profile, 1.0)?;
                let at = |r: &usize| run.measured[*r].unwrap_or(0.0) - simulated.rows[*r].unwrap_or(0.0);
                Ok(line.rows.iter().map(at).collect())
            })
            .collect()
    }

    fn objective(&self, residuals: &[Vec<f64>], theta: &[f64]) -> f64 {
        let runs = self.linear.iter().zip(residuals).filter(|(line, _)| !line.rows.is_empty());
        let of_runs: f64 = runs
            .filter_map(|(line, residual)| Some(misfit(&forward(&cholesky(&line.noise)?, residual))))
            .sum();
        let of_prior: f64 = theta.iter().zip(&self.problem.prior_sd).map(|(t, sd)| t * t / (sd * sd)).sum();
        of_runs + of_prior
    }

    /// Half the descent of the objective with each constant: J' N^-1 r of the runs, less the prior's pull.
    fn descent(&self, residuals: &[Vec<f64>], theta: &[f64]) -> Vec<f64> {
        let mut sum: Vec<f64> =
            theta.iter().zip(&self.problem.prior_sd).map(|(t, sd)| -t / (sd * sd)).collect();
        for (line, residual) in self.linear.iter().zip(residuals) {
            let Some(factor) = cholesky(&line.noise).filter(|_| !line.rows.is_empty()) else { continue };
            let white = forward(&factor, residual);
            let distance = libm::sqrt(dot(&white, &white) / white.len() as f64);
            let weight = if distance > HUBER { HUBER / distance } else { 1.0 };
            for (c, slot) in sum.iter_mut().enumerate() {
                let column = forward(&factor, &line.jacobian.iter().map(|row| row[c]).collect::<Vec<_>>());
                *slot += weight * dot(&column, &white);
            }
        }
        sum
    }

    /// The objective's growth with constant `c` held at `delta` from its fitted value and the others fitted again.
    fn growth_at(&self, c: usize, delta: f64, base: f64) -> Result<f64, CalibrateError> {
        let k = self.theta.len();
        let variance = self.covariance[c][c];
        let expected: Vec<f64> =
            (0..k).map(|i| self.theta[i] + self.covariance[i][c] / variance * delta).collect();
        let residuals = self.residuals(&expected)?;
        let first = self.objective(&residuals, &expected);
        let descent = self.descent(&residuals, &expected);
        // The covariance of the others with `c` held.
        let corrected: Vec<f64> = (0..k)
            .map(|i| {
                let step: f64 = (0..k)
                    .filter(|j| *j != c && i != c)
                    .map(|j| {
                        let held =
                            self.covariance[i][j] - self.covariance[i][c] * self.covariance[c][j] / variance;
                        held * descent[j]
                    })
                    .sum();
                expected[i] + step.clamp(-LARGEST_MOVE, LARGEST_MOVE)
            })
            .collect();
        let second = self.objective(&self.residuals(&corrected)?, &corrected);
        Ok(first.min(second) - base)
    }

    /// One end, as a distance from the fitted value. `side` is -1 or 1.
    fn end(&self, c: usize, side: f64, base: f64) -> Result<f64, CalibrateError> {
        let quadratic = libm::sqrt(self.growth * self.covariance[c][c]);
        let want = libm::sqrt(self.growth);
        let root = |growth: f64| libm::sqrt(growth.max(0.0));
        let first = root(self.growth_at(c, side * quadratic, base)?);
        let within = |x: f64| x.clamp(quadratic / FARTHEST, quadratic * FARTHEST);
        let guess = within(if first > 0.0 { quadratic * want / first } else { quadratic * FARTHEST });
        let second = root(self.growth_at(c, side * guess, base)?);
        let slope = (second - first) / (guess - quadratic);
        // Two points at the same place, or noise: the second guess stands.
        let end = if slope.is_finite() && slope > 0.0 { guess + (want - second) / slope } else { guess };
        Ok(side * within(end))
    }

    /// Both ends of a constant's interval, as distances from its fitted value.
    pub(super) fn interval(&self, c: usize) -> Result<(f64, f64), CalibrateError> {
        let at_fit: Vec<Vec<f64>> = self.linear.iter().map(|line| line.residual.clone()).collect();
        let base = self.objective(&at_fit, self.theta);
        let (low, high) = rayon::join(|| self.end(c, -1.0, base), || self.end(c, 1.0, base));
        Ok((low?, high?))
    }
}
