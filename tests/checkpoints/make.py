"""Makes torch.safetensors: what PyTorch 2.5.1 saves of a small model, what its layers then make of an input in
evaluation, how running estimates follow three batches, and the gradients of a layer in both modes.

    pip install torch==2.5.1 numpy safetensors && python make.py
"""

import torch
from safetensors.torch import save_file
from torch import nn

torch.manual_seed(0)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.group = nn.GroupNorm(2, 4, eps=1e-6)
        self.instance = nn.InstanceNorm2d(4, affine=True, track_running_stats=True)
        self.plain = nn.InstanceNorm2d(4)
        self.layer = nn.LayerNorm([2, 2], dtype=torch.float16)
        self.rms = nn.RMSNorm(2, eps=1e-5, dtype=torch.bfloat16)


model = Model()
for name, parameter in model.named_parameters():
    if name.split(".")[-1] in ("weight", "bias"):
        nn.init.normal_(parameter, mean=1.0)
for _ in range(3):
    model.instance(model.bn(model.conv(torch.randn(2, 3, 4, 4))))

tensors = {key: value.detach() for key, value in model.state_dict().items()}
tensors = {key: value.contiguous() for key, value in tensors.items()}

model.eval()
for name in ["bn", "group", "instance", "layer", "rms"]:
    layer = getattr(model, name)
    x = torch.randn(2, 4, 2, 2, dtype=next(layer.parameters()).dtype)
    tensors[f"check.{name}.input"] = x
    tensors[f"check.{name}.output"] = layer(x).detach()

followers = {
    "bn": nn.BatchNorm1d(3),
    "average": nn.BatchNorm1d(3, momentum=None),
    "instance": nn.InstanceNorm1d(3, track_running_stats=True, momentum=0.25),
    "still": nn.InstanceNorm1d(3, track_running_stats=True, momentum=None),
    "untracked": nn.BatchNorm1d(3, track_running_stats=False),
}
batches = [torch.randn(2, 3, 5), torch.randn(4, 3, 2) * 3 + 1, torch.randn(1, 3, 4) - 2]
for i, batch in enumerate(batches):
    tensors[f"follow.batch.{i}"] = batch
for name, layer in followers.items():
    for batch in batches:
        tensors[f"follow.{name}.output"] = layer(batch).detach()
    for key, value in layer.state_dict().items():
        if key not in ("weight", "bias"):
            tensors[f"follow.{name}.{key}"] = value

layer = nn.BatchNorm1d(3)
for key, value in layer.state_dict().items():
    if key != "num_batches_tracked":
        value.copy_(torch.rand(3) + 0.5)
    tensors[f"grad.{key}"] = value.clone()
x, upstream = torch.randn(4, 3), torch.randn(4, 3)
tensors |= {"gradient.input": x, "gradient.upstream": upstream}
for mode in ["eval", "train"]:
    layer.train(mode == "train")
    wanted = [x.requires_grad_(), layer.weight, layer.bias]
    gradients = torch.autograd.grad(layer(x), wanted, upstream)
    for name, gradient in zip(["input", "weight", "bias"], gradients):
        tensors[f"gradient.{mode}.{name}"] = gradient
x.requires_grad_(False)

save_file(tensors, "torch.safetensors", metadata={"format": "pt"})
