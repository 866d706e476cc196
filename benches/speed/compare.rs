//! Rounds in which each takes its turn, and what comes of them: the median of
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
    for round in 0..rounds {
        // Ours is first in one round, last in the next.
        if round % 2 == 0 {
            of_ours.push(ours()?);
        }
        for (measure, found) in references.iter_mut().zip(&mut of_references) {
            found.push(measure()?);
        }
        if round % 2 == 1 {
            of_ours.push(ours()?);
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
