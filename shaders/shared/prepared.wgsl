// What the prepare kernel made of the caller's parameters, in f32: weight, bias, and threshold or factor of the
// class, of prepared_len parameters each; then the shared weight and bias of each column, or eps and its sign.
@group(0) @binding(16) var<storage, read> prepared: array<f32>;
