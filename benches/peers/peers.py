"""PyTorch and ONNX Runtime, timed as the Rust side times the others.

Each line on stdin is a request in JSON, each line on stdout its answer; `src/peers/python.rs` is the other side.
"""

import json
import math
import os
import sys
import time

try:
    import numpy as np
except ImportError as error:
    # Everything here needs it; `available` says so.
    np = error

BATCHES = 11
LEAST = 0.02
MOST_CALLS = 1 << 14
LINKS = 9

NAMES = ["weight", "bias", "mean_weight", "var_weight", "running_mean", "running_var"]


class Cannot(Exception):
    """The library has no such thing."""


def median_time(batch):
    """The median of the seconds that a call takes; `batch` makes so many calls and returns when they are done."""

    def timed(calls):
        begin = time.perf_counter()
        batch(calls)
        return time.perf_counter() - begin

    timed(1)
    calls = 1
    while calls < MOST_CALLS:
        took = timed(calls)
        if took >= LEAST:
            break
        calls = min(calls * min(max(math.ceil(LEAST / max(took, 1e-9)), 2), 64), MOST_CALLS)
    return sorted(timed(calls) / calls for _ in range(BATCHES))[BATCHES // 2]


def load(task, name, shape):
    """A tensor of the task, or None."""
    path = os.path.join(task["folder"], name)
    return np.fromfile(path, dtype="<f4").reshape(shape) if os.path.exists(path) else None


def store(task, results):
    """Writes what came out and says where."""
    paths = []
    for index, result in enumerate(results):
        paths.append(os.path.join(task["folder"], f"result{index}"))
        np.ascontiguousarray(result, dtype="<f4").tofile(paths[-1])
    return paths


class Torch:
    """Eager and compiled, on the CPU and on CUDA."""

    def __init__(self, threads):
        import torch
        import torch._functorch.config

        self.torch = torch
        torch.set_num_threads(threads)
        # A compiled backward pass would overwrite what the next one needs.
        if hasattr(torch._functorch.config, "donated_buffer"):
            torch._functorch.config.donated_buffer = False
        self.compiled = {}

    def cuda(self):
        return self.torch.cuda.get_device_name() if self.torch.cuda.is_available() else None

    def measure(self, task, device, compiled):
        torch = self.torch
        tensors = self.tensors(task, device)
        operation = self.operation(task)
        if compiled:
            operation = self.compile(task, device, operation)
        wait = torch.cuda.synchronize if device == "cuda" else lambda: None
        call = self.backward(task, operation, tensors) if task["backward"] else self.forward(operation, tensors)

        def batch(calls):
            for _ in range(calls):
                call()
            wait()

        results = [self.numpy(task, result) for result in call()]
        return {"results": store(task, results), "seconds": median_time(batch)}

    def tensors(self, task, device):
        torch = self.torch
        arrays = {name: load(task, name, -1) for name in NAMES}
        tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items() if array is not None}
        for name in ["input", "grad_output"]:
            tensor = torch.from_numpy(load(task, name, task["shape"])).to(device)
            # The memory format that PyTorch calls channels_last.
            last = task["operation"] == "batch_norm_channels_last"
            tensors[name] = tensor.permute(0, 3, 1, 2) if last else tensor
        return tensors

    def numpy(self, task, result):
        """A result with its axes in the order in which the input was stored."""
        last = task["operation"] == "batch_norm_channels_last" and result.dim() == 4
        return (result.permute(0, 2, 3, 1) if last else result).detach().cpu().numpy()

    def compile(self, task, device, operation):
        """Compiles for these shapes; what was compiled for another task is forgotten."""
        key = (task["workload"], task["backward"], device)
        if key not in self.compiled:
            self.torch._dynamo.reset()
            self.compiled = {key: self.torch.compile(operation, dynamic=False)}
        return self.compiled[key]

    def forward(self, operation, tensors):
        def call():
            with self.torch.no_grad():
                return [operation(tensors)]

        return call

    def backward(self, task, operation, tensors):
        learned = ["input", "weight", "bias", "mean_weight", "var_weight"]
        leaves = [tensors[name].requires_grad_() for name in learned if name in tensors]
        output = operation(tensors)

        def call():
            gradients = self.torch.autograd.grad(output, leaves, tensors["grad_output"], retain_graph=True)
            return gradients[:3] if len(leaves) > 3 else gradients

        return call

    def operation(self, task):
        """What computes the output from the tensors."""
        torch, F = self.torch, self.torch.nn.functional
        eps, groups, channels = task["eps"], task["groups"], task["shape"][1]

        def layer_norm(t):
            return F.layer_norm(t["input"], task["shape"][1:], t["weight"], t["bias"], eps)

        def layer_norm_of_channels(t):
            x = t["input"].permute(0, 2, 3, 1)
            return F.layer_norm(x, [channels], t["weight"], t["bias"], eps).permute(0, 3, 1, 2)

        def rms_norm(t):
            return F.rms_norm(t["input"], task["shape"][1:], t["weight"], eps)

        def group_norm(t):
            return F.group_norm(t["input"], groups, t["weight"], t["bias"], eps)

        def instance_norm(t):
            return F.instance_norm(t["input"], weight=t["weight"], bias=t["bias"], eps=eps)

        def batch_norm(t, training):
            running = (t["running_mean"], t["running_var"])
            return F.batch_norm(t["input"], *running, t["weight"], t["bias"], training, 0.1, eps)

        def batch_norm_train(t):
            return batch_norm(t, True)

        def batch_norm_eval(t):
            return batch_norm(t, False)

        def positional_norm(t):
            # As the authors have it.
            x = t["input"]
            mean = x.mean(dim=1, keepdim=True)
            std = x.var(dim=1, keepdim=True).add(eps).sqrt()
            return (x - mean) / std

        def switchable_norm(t):
            # As the authors have it.
            x = t["input"].reshape(task["shape"][0], channels, -1)
            mean_in, var_in = x.mean(-1, keepdim=True), x.var(-1, keepdim=True)
            temp = var_in + mean_in**2
            mean_ln = mean_in.mean(1, keepdim=True)
            var_ln = temp.mean(1, keepdim=True) - mean_ln**2
            mean_bn = mean_in.mean(0, keepdim=True)
            var_bn = temp.mean(0, keepdim=True) - mean_bn**2
            t["running_mean"].mul_(0.9).add_(0.1 * mean_bn.detach().flatten())
            t["running_var"].mul_(0.9).add_(0.1 * var_bn.detach().flatten())
            of_mean, of_var = torch.softmax(t["mean_weight"], 0), torch.softmax(t["var_weight"], 0)
            mean = of_mean[0] * mean_in + of_mean[1] * mean_ln + of_mean[2] * mean_bn
            var = of_var[0] * var_in + of_var[1] * var_ln + of_var[2] * var_bn
            x = ((x - mean) / (var + eps).sqrt()).reshape(task["shape"])
            return x * t["weight"].view(1, -1, 1, 1) + t["bias"].view(1, -1, 1, 1)

        operations = {
            "layer_norm": layer_norm,
            "layer_norm_of_channels": layer_norm_of_channels,
            "rms_norm": rms_norm,
            "group_norm": group_norm,
            "instance_norm": instance_norm,
            "batch_norm_train": batch_norm_train,
            "batch_norm_eval": batch_norm_eval,
            "batch_norm_channels_last": batch_norm_train,
            "positional_norm": positional_norm,
            "switchable_norm": switchable_norm,
        }
        return operations[task["operation"]]


class OnnxRuntime:
    """One operator of ONNX, its parameters constants and its output's buffer kept."""

    def __init__(self, threads):
        import onnx
        import onnxruntime

        self.onnx, self.runtime, self.threads = onnx, onnxruntime, threads

    def webgpu(self):
        return "WebGpuExecutionProvider" in self.runtime.get_available_providers()

    def measure(self, task, device):
        if task["backward"]:
            raise Cannot("it has no backward pass")
        if device == "webgpu":
            return self.measure_chains(task)
        model, outputs = self.model(task)
        session = self.session(model, "CPUExecutionProvider")
        binding, output = self.bind(session, task, outputs)

        def batch(calls):
            for _ in range(calls):
                session.run_with_iobinding(binding)

        batch(1)
        results = [output.numpy()]
        return {"results": store(task, results), "seconds": median_time(batch)}

    def measure_chains(self, task):
        """On a device that Python cannot allocate on: how much longer a chain of many operators takes than one alone."""
        feed, seconds = {"x": load(task, "input", task["shape"])}, []
        for links in (1, LINKS):
            model, outputs = self.model(task, links)
            session = self.session(model, "WebGpuExecutionProvider")
            results = session.run([outputs[0][0]], feed)
            if links == 1:
                stored = store(task, results)
            seconds.append(median_time(lambda calls: [session.run([outputs[0][0]], feed) for _ in range(calls)]))
        if seconds[1] <= seconds[0]:
            raise Cannot("an operator more takes less time than the noise")
        return {"results": stored, "seconds": (seconds[1] - seconds[0]) / (LINKS - 1)}

    def session(self, model, provider):
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if provider != "CPUExecutionProvider":
            options.graph_optimization_level = self.runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        session = self.runtime.InferenceSession(model.SerializeToString(), options, providers=[provider])
        if session.get_providers()[0] != provider:
            raise Cannot(f"{provider} did not take it")
        return session

    def bind(self, session, task, outputs):
        value = self.runtime.OrtValue
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", value.ortvalue_from_numpy(load(task, "input", task["shape"]), "cpu"))
        kept = [value.ortvalue_from_shape_and_type(shape, np.float32, "cpu") for _, shape in outputs]
        for (name, _), each in zip(outputs, kept):
            binding.bind_ortvalue_output(name, each)
        return binding, kept[0]

    def model(self, task, links=1):
        """The model of so many operators one after the other, and the names and shapes of what the last gives."""
        helper, proto = self.onnx.helper, self.onnx.TensorProto
        shape, channels = task["shape"], task["shape"][1]
        operator, attributes, names, opset = self.operator(task)
        shapes = {"y": shape}
        if task["operation"] == "batch_norm_train":
            shapes |= {"mean": [channels], "var": [channels]}
        constants = [self.onnx.numpy_helper.from_array(load(task, name, -1), name) for name in names]
        given = ["x", *(f"y{link}" for link in range(links - 1))]
        nodes = []
        for link, x in enumerate(given):
            results = [name if link == links - 1 else f"{name}{link}" for name in shapes]
            nodes.append(helper.make_node(operator, [x, *names], results, **attributes))
        outputs = list(shapes.items())
        graph = helper.make_graph(
            nodes,
            "norm",
            [helper.make_tensor_value_info("x", proto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, proto.FLOAT, each) for name, each in outputs],
            constants,
        )
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model_gen_version(graph, opset_imports=opsets), outputs

    def operator(self, task):
        """An operator's name, attributes and parameters, and the opset that has it first, or 17."""
        eps, both = task["eps"], ["weight", "bias"]
        estimates = [*both, "running_mean", "running_var"]
        operators = {
            "layer_norm": ("LayerNormalization", {"axis": 1, "epsilon": eps}, both, 17),
            "rms_norm": ("RMSNormalization", {"axis": 1, "epsilon": eps}, ["weight"], 23),
            "group_norm": ("GroupNormalization", {"num_groups": task["groups"], "epsilon": eps}, both, 21),
            "instance_norm": ("InstanceNormalization", {"epsilon": eps}, both, 17),
            "batch_norm_train": ("BatchNormalization", {"epsilon": eps, "training_mode": 1}, estimates, 17),
            "batch_norm_eval": ("BatchNormalization", {"epsilon": eps}, estimates, 17),
        }
        if task["operation"] not in operators:
            raise Cannot("ONNX has no such operator")
        return operators[task["operation"]]


def available(kind, name, threads, notes):
    """A library, or None and a note that says why."""
    try:
        if isinstance(np, ImportError):
            raise np
        return kind(threads)
    except Exception as error:
        notes.append(f"{name} cannot be imported: {error}")
        return None


def answer(libraries, task):
    """The answer to a request."""
    name, device = task["library"], task["device"]
    library = libraries["torch" if name == "torch.compile" else name]
    try:
        if library is None:
            raise Cannot("it cannot be imported")
        if name == "onnxruntime":
            return library.measure(task, device)
        return library.measure(task, device, compiled=name == "torch.compile")
    except Cannot as reason:
        return {"cannot": str(reason)}
    except Exception as error:
        return {"failed": " ".join(f"{type(error).__name__}: {error}".split())[:300]}


def main():
    threads = int(sys.argv[1])
    # What libraries print is not to be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    notes = []
    torch = available(Torch, "torch", threads, notes)
    onnx = available(OnnxRuntime, "onnxruntime", threads, notes)
    libraries = {"torch": torch, "onnxruntime": onnx}
    cuda, webgpu = torch and torch.cuda(), bool(onnx and onnx.webgpu())
    print(json.dumps({"notes": notes, "cuda": cuda, "webgpu": webgpu}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(libraries, json.loads(line))), file=answers, flush=True)


main()
