// The instances that a layer consists of, or a channel of the batch: items are the layers, then the channels.

struct Instances {
    first: u32,
    stride: u32,
    count: u32,
}

fn is_layer(item: u32) -> bool {
    return item < task.samples;
}

// Those of a layer follow each other, those of a channel are a layer apart. Beyond the items there are none.
fn instances_of(item: u32) -> Instances {
    if item >= task.items {
        return Instances(0u, 1u, 0u);
    }
    if is_layer(item) {
        return Instances(item * task.channels, 1u, task.channels);
    }
    return Instances(item - task.samples, task.channels, task.samples);
}
