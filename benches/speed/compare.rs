//! Rounds in which each takes two turns, and what comes of them: the median of
//! the ratios within a round. What slows the machine down for a while slows both.

use std::io;

/// One measurement: a rate, the higher the better.
pub type Measure<'a> = Box<dyn FnMut() -> io::Result<f64> + 'a>;

#[derive(Clone, Debug)]
pub struct Comparison {
    /// Medians.
    pub ours: f64,
    pub reference: f64,
    /// Which of the references was the fastest.
    pub fastest: usize,
    /// Ours through the fastest reference's: lowest, median, highest.
    pub ratio: (f64, f64, f64),
}

pub fn compare(
    rounds: usize,
    ours: &mut Measure<'_>,
    references: &mut [Measure<'_>],
) -> io::Result<Comparison> {
    let mut of_ours = Vec::new();
    let mut of_references = vec![Vec::new(); references.len()];
    for _ in 0..rounds {
        // There and back, so that no one gains by coming after another.
        let first = ours()?;
        let there = references.iter_mut().map(|measure| measure()).collect::<io::Result<Vec<f64>>>()?;
        let back = references.iter_mut().rev().map(|measure| measure()).collect::<io::Result<Vec<f64>>>()?;
        of_ours.push((first + ours()?) / 2.0);
        for ((found, there), back) in of_references.iter_mut().zip(there).zip(back.iter().rev()) {
            found.push((there + back) / 2.0);
        }
    }
    let medians: Vec<f64> = of_references.iter().map(|found| median(found)).collect();
    let fastest = (0..medians.len()).max_by(|a, b| medians[*a].total_cmp(&medians[*b])).unwrap_or(0);
    let mut ratios: Vec<f64> = of_ours.iter().zip(&of_references[fastest]).map(|(a, b)| a / b).collect();
    ratios.sort_by(f64::total_cmp);
    Ok(Comparison {
        ours: median(&of_ours),
        reference: medians[fastest],
        fastest,
        ratio: (ratios[0], median(&ratios), ratios[ratios.len() - 1]),
    })
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}
