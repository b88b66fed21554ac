// What happens beside weight and bias between the normalized value and the output.

// Whether normalized values are rounded to the storage type before the weight.
override ROUNDS_NORMALIZED: bool = false;
// What follows the affine map. 0: nothing; 1: ReLU; 2: SiLU; 3: GELU; 4: GELU by the hyperbolic tangent.
override ACTIVATION: u32 = 0u;

fn meeting_weight(value: vec4<f32>) -> vec4<f32> {
    if ROUNDS_NORMALIZED {
        return rounded(value);
    }
    return value;
}

fn activate(y: vec4<f32>) -> vec4<f32> {
    switch ACTIVATION {
        // Not max, which drops a NaN.
        case 1u: { return select(y, vec4<f32>(), y < vec4<f32>()); }
        case 2u: { return y * sigmoid(y); }
        case 3u: { return y * normal_distribution(y); }
        case 4u: { return y * sigmoid(2.0 * tanh_argument(y)); }
        default: { return y; }
    }
}

// The derivative of activate.
fn slope(y: vec4<f32>) -> vec4<f32> {
    switch ACTIVATION {
        case 1u: { return select(vec4<f32>(1.0), vec4<f32>(), y <= vec4<f32>()); }
        case 2u: { return sigmoid(y) * (1.0 + y * sigmoid(-y)); }
        // 1 / sqrt(2π)
        case 3u: { return normal_distribution(y) + y * exp(-0.5 * y * y) * 0.3989422804; }
        case 4u: {
            let twice = 2.0 * tanh_argument(y);
            let s = sigmoid(twice);
            let argument_slope = 0.7978845608 * (1.0 + 0.134145 * min(y * y, vec4<f32>(1e30)));
            // Not 1 - s, which has few digits where s is near 1.
            return s + 2.0 * y * s * sigmoid(-twice) * argument_slope;
        }
        default: { return vec4<f32>(1.0); }
    }
}

fn sigmoid(y: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(-y));
}

// √(2/π) (y + 0.044715 y³)
fn tanh_argument(y: vec4<f32>) -> vec4<f32> {
    return 0.7978845608 * y * (1.0 + 0.044715 * y * y);
}

// The share of a normal variable below y: near 0 by the series of erf, far away by a fit of erfc that keeps its
// digits however small it is (Numerical Recipes, 6.2).
fn normal_distribution(y: vec4<f32>) -> vec4<f32> {
    let z = abs(y) * 0.7071067812;
    let q = z * z;
    // 2/√π (-1)^n / (n! (2n + 1)), n from 11 down to 0
    var series = vec4<f32>(-1.2290555e-9);
    series = series * q + 1.4807192e-8;
    series = series * q - 1.6365844e-7;
    series = series * q + 1.6462115e-6;
    series = series * q - 1.4925650e-5;
    series = series * q + 1.2055332e-4;
    series = series * q - 8.5483270e-4;
    series = series * q + 5.2239776e-3;
    series = series * q - 2.6866171e-2;
    series = series * q + 1.1283792e-1;
    series = series * q - 3.7612639e-1;
    series = series * q + 1.1283792;
    let near = 0.5 - 0.5 * z * series;

    let t = 1.0 / (1.0 + 0.5 * z);
    var fit = vec4<f32>(0.17087277);
    fit = fit * t - 0.82215223;
    fit = fit * t + 1.48851587;
    fit = fit * t - 1.13520398;
    fit = fit * t + 0.27886807;
    fit = fit * t - 0.18628806;
    fit = fit * t + 0.09678418;
    fit = fit * t + 0.37409196;
    fit = fit * t + 1.00002368;
    fit = fit * t - 1.26551223;
    let far = 0.5 * t * exp(fit - q);

    let beyond = select(far, near, z < vec4<f32>(1.0));
    return select(beyond, 1.0 - beyond, y > vec4<f32>());
}
