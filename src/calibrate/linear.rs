//! Small dense symmetric systems: as many rows as a profile has constants.
//!
//! Sums run in index order, so that results are the same bytes everywhere.
//!
//! Cost: O(n^3), n below a hundred.

/// A square matrix, row by row.
pub type Matrix = Vec<Vec<f64>>;

/// An n x n matrix of zeros.
#[must_use]
pub fn zeros(n: usize) -> Matrix {
    vec![vec![0.0; n]; n]
}

/// Scalar product.
#[must_use]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Matrix times vector.
#[must_use]
pub fn times(a: &Matrix, x: &[f64]) -> Vec<f64> {
    a.iter().map(|row| dot(row, x)).collect()
}

/// The lower Cholesky factor of a symmetric positive definite matrix; `None` if it is not.
#[must_use]
pub fn cholesky(a: &Matrix) -> Option<Matrix> {
    let n = a.len();
    let mut l = zeros(n);
    for i in 0..n {
        for j in 0..=i {
            let rest = a[i][j] - dot(&l[i][..j], &l[j][..j]);
            if i == j {
                if rest <= 0.0 || !rest.is_finite() {
                    return None;
                }
                l[i][i] = libm::sqrt(rest);
            } else {
                l[i][j] = rest / l[j][j];
            }
        }
    }
    Some(l)
}

/// Solves L L' x = b.
#[must_use]
pub fn solve(l: &Matrix, b: &[f64]) -> Vec<f64> {
    let n = l.len();
    let mut y = forward(l, b);
    for i in (0..n).rev() {
        let above: f64 = (i + 1..n).map(|j| l[j][i] * y[j]).sum();
        y[i] = (y[i] - above) / l[i][i];
    }
    y
}

/// Solves L y = b.
#[must_use]
pub fn forward(l: &Matrix, b: &[f64]) -> Vec<f64> {
    let mut y = b.to_vec();
    for i in 0..l.len() {
        y[i] = (y[i] - dot(&l[i][..i], &y[..i])) / l[i][i];
    }
    y
}

/// The inverse from the Cholesky factor.
#[must_use]
pub fn inverse(l: &Matrix) -> Matrix {
    let n = l.len();
    let unit = |k: usize| (0..n).map(|i| f64::from(u8::from(i == k))).collect::<Vec<_>>();
    (0..n).map(|k| solve(l, &unit(k))).collect()
}

/// Eigenvalues, largest first, each with its unit eigenvector (Jacobi's rotations).
#[must_use]
pub fn eigen(a: &Matrix) -> Vec<(f64, Vec<f64>)> {
    let n = a.len();
    let mut a = a.clone();
    let mut v = zeros(n);
    for (i, row) in v.iter_mut().enumerate() {
        row[i] = 1.0;
    }
    for _ in 0..60 {
        let off: f64 = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i][j] * a[i][j]).sum();
        let diagonal: f64 = (0..n).map(|i| a[i][i] * a[i][i]).sum();
        if off <= 1e-26 * diagonal {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q].abs() < f64::MIN_POSITIVE {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = f64::copysign(1.0, theta) / (theta.abs() + libm::sqrt(theta * theta + 1.0));
                let c = 1.0 / libm::sqrt(t * t + 1.0);
                let s = t * c;
                for row in &mut a {
                    let (x, y) = (row[p], row[q]);
                    (row[p], row[q]) = (c * x - s * y, s * x + c * y);
                }
                let (row_p, row_q) = (a[p].clone(), a[q].clone());
                for k in 0..n {
                    a[p][k] = c * row_p[k] - s * row_q[k];
                    a[q][k] = s * row_p[k] + c * row_q[k];
                }
                for row in &mut v {
                    let (x, y) = (row[p], row[q]);
                    (row[p], row[q]) = (c * x - s * y, s * x + c * y);
                }
            }
        }
    }
    let mut pairs: Vec<(f64, Vec<f64>)> =
        (0..n).map(|k| (a[k][k], v.iter().map(|row| row[k]).collect())).collect();
    pairs.sort_by(|x, y| y.0.total_cmp(&x.0));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_inverts_and_diagonalises() {
        let a = vec![vec![4.0, 1.0, 0.5], vec![1.0, 3.0, 0.2], vec![0.5, 0.2, 2.0]];
        let l = cholesky(&a).unwrap();
        let x = solve(&l, &[1.0, 2.0, 3.0]);
        let back = times(&a, &x);
        for (got, want) in back.iter().zip([1.0, 2.0, 3.0]) {
            assert!((got - want).abs() < 1e-12, "{back:?}");
        }
        let unit = times(&inverse(&l), &times(&a, &[1.0, 0.0, 0.0]));
        assert!((unit[0] - 1.0).abs() < 1e-12 && unit[1].abs() < 1e-12);
        for (value, vector) in eigen(&a) {
            for (got, v) in times(&a, &vector).iter().zip(&vector) {
                assert!((got - value * v).abs() < 1e-9);
            }
        }
        let trace: f64 = eigen(&a).iter().map(|e| e.0).sum();
        assert!((trace - 9.0).abs() < 1e-9);
        assert!(cholesky(&vec![vec![1.0, 2.0], vec![2.0, 1.0]]).is_none());
    }
}
