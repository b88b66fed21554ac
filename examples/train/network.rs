//! Linear layers on the host around a norm on an engine: 64 pixels, 32 features, 10 classes.

use crate::data::{CLASSES, Digits, PIXELS, Random};
use wgpu_norm::layer::Layer;
use wgpu_norm::{Result, Tensor};

const FEATURES: usize = 32;
const RATE: f32 = 0.05;
const MOMENTUM: f32 = 0.9;

/// A classifier: linear, norm with its activation, linear.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    first: Linear,
    pub(crate) norm: Layer,
    /// Of the norm's weight and bias.
    velocities: [Vec<f32>; 2],
    second: Linear,
}

/// `y = x W + b`, rows of x one after the other.
#[derive(Debug, Clone)]
struct Linear {
    inputs: usize,
    outputs: usize,
    /// `[inputs, outputs]`, then the bias.
    values: Vec<f32>,
    velocity: Vec<f32>,
}

impl Network {
    /// The same initial weights for every engine. `norm` takes `[N, 32]`.
    pub(crate) fn new(norm: Layer) -> Self {
        let mut random = Random::new(7);
        Self {
            first: Linear::new(PIXELS, FEATURES, &mut random),
            norm,
            velocities: [vec![0.0; FEATURES], vec![0.0; FEATURES]],
            second: Linear::new(FEATURES, CLASSES, &mut random),
        }
    }

    /// One step of gradient descent; returns the mean loss of the batch before it.
    pub(crate) fn step(&mut self, batch: &Digits) -> Result<f32> {
        let rows = batch.len();
        let hidden = Tensor::from_f32([rows, FEATURES], self.first.forward(&batch.pixels))?;
        let forward = self.norm.forward_saving(&hidden)?;
        let features = forward.output.data().to_f32();
        let (loss, upstream) = cross_entropy(&self.second.forward(&features), &batch.labels);
        let upstream = Tensor::from_f32([rows, FEATURES], self.second.backward(&features, &upstream))?;
        let gradients = self.norm.backward(&hidden, &upstream, &forward, None)?;
        if let Some(of_input) = gradients.input {
            self.first.backward(&batch.pixels, &of_input.data().to_f32());
        }
        for ((name, gradient), velocity) in
            [("weight", gradients.weight), ("bias", gradients.bias)].into_iter().zip(&mut self.velocities)
        {
            let Some(gradient) = gradient else { continue };
            let mut values = self.norm.get(name)?.data().to_f32();
            descend(&mut values, velocity, &gradient.data().to_f32());
            self.norm.set(name, Tensor::from_f32([FEATURES], values)?)?;
        }
        Ok(loss)
    }

    /// What the network makes of each image, by the norm in evaluation.
    pub(crate) fn scores(&mut self, digits: &Digits) -> Result<Vec<f32>> {
        let hidden = Tensor::from_f32([digits.len(), FEATURES], self.first.forward(&digits.pixels))?;
        self.norm.eval();
        let features = self.norm.forward(&hidden)?;
        self.norm.train();
        Ok(self.second.forward(&features.data().to_f32()))
    }

    /// The share of images that the network names.
    pub(crate) fn accuracy(&mut self, digits: &Digits) -> Result<f64> {
        let scores = self.scores(digits)?;
        let best = |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(class, _)| class);
        let named = scores.chunks(CLASSES).zip(&digits.labels).filter(|(row, label)| best(row) == Some(**label));
        Ok(named.count() as f64 / digits.len() as f64)
    }
}

impl Linear {
    fn new(inputs: usize, outputs: usize, random: &mut Random) -> Self {
        let scale = (3.0 / inputs as f32).sqrt();
        let weight = (0..inputs * outputs).map(|_| random.uniform() * scale);
        let values: Vec<f32> = weight.chain(std::iter::repeat_n(0.0, outputs)).collect();
        Self { inputs, outputs, velocity: vec![0.0; values.len()], values }
    }

    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let (weight, bias) = self.values.split_at(self.inputs * self.outputs);
        let row = |x: &[f32]| {
            let mut y = bias.to_vec();
            for (x, weights) in x.iter().zip(weight.chunks(self.outputs)) {
                y.iter_mut().zip(weights).for_each(|(y, w)| *y += x * w);
            }
            y
        };
        x.chunks(self.inputs).flat_map(row).collect()
    }

    /// Returns the gradient of x, and descends.
    fn backward(&mut self, x: &[f32], upstream: &[f32]) -> Vec<f32> {
        let weights = self.inputs * self.outputs;
        let mut gradient = vec![0.0; self.values.len()];
        let mut of_x = vec![0.0; x.len()];
        let rows = x.chunks(self.inputs).zip(of_x.chunks_mut(self.inputs)).zip(upstream.chunks(self.outputs));
        for ((x, of_x), upstream) in rows {
            for i in 0..self.inputs {
                let own = i * self.outputs..(i + 1) * self.outputs;
                of_x[i] = self.values[own.clone()].iter().zip(upstream).map(|(w, g)| w * g).sum();
                gradient[own].iter_mut().zip(upstream).for_each(|(d, g)| *d += x[i] * g);
            }
            gradient[weights..].iter_mut().zip(upstream).for_each(|(d, g)| *d += g);
        }
        descend(&mut self.values, &mut self.velocity, &gradient);
        of_x
    }
}

/// Gradient descent with momentum.
fn descend(values: &mut [f32], velocity: &mut [f32], gradient: &[f32]) {
    for ((value, velocity), gradient) in values.iter_mut().zip(velocity).zip(gradient) {
        *velocity = MOMENTUM * *velocity + gradient;
        *value -= RATE * *velocity;
    }
}

/// The mean loss of softmax and cross entropy, and its gradient.
fn cross_entropy(scores: &[f32], labels: &[usize]) -> (f32, Vec<f32>) {
    let (rows, mut loss) = (labels.len() as f32, 0.0);
    let mut gradient = scores.to_vec();
    for (row, label) in gradient.chunks_mut(CLASSES).zip(labels) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|score| *score = (*score - largest).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|share| *share /= sum * rows);
        loss -= (row[*label] * rows).ln() / rows;
        row[*label] -= 1.0 / rows;
    }
    (loss, gradient)
}
