#!/usr/bin/env python3
"""Writes the averaged weights of a checkpoint as ONNX, stored in half precision, and checks the file against torch.

    export.py --checkpoint FILE --generator FILE --out functions/shape/weights/layered.onnx

The graph is written down here operation by operation, so that the file has what tract runs and nothing else: Conv,
Sigmoid, Mul, Add, DepthToSpace, and a Cast for each weight. In: 1 x 7 x side x side. Out: 1 x 4 x side x side, as
`Network.parts`. What shape makes of that is `functions/shape/src/layered.rs`.
"""

import argparse
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

import data
import judge
from network import PLANES, Network, Residual

OPSET = 17


class Graph:
    def __init__(self):
        self.nodes, self.weights = [], []

    def node(self, operation, *inputs, **attributes):
        name = f"{operation.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [name], name=name, **attributes))
        return name

    def weight(self, tensor):
        name = f"weight{len(self.weights)}"
        half = tensor.detach().contiguous().numpy().astype(np.float16)
        self.weights.append(numpy_helper.from_array(half, name))
        return self.node("Cast", name, to=TensorProto.FLOAT)

    def conv(self, layer, x):
        pads = [*layer.padding, *layer.padding]
        weights = (self.weight(layer.weight), self.weight(layer.bias))
        return self.node("Conv", x, *weights, strides=layer.stride, pads=pads, kernel_shape=layer.kernel_size)

    def silu(self, x):
        return self.node("Mul", x, self.node("Sigmoid", x))

    def pixels(self, x):
        return self.node("DepthToSpace", x, blocksize=2, mode="CRD")

    def blocks(self, layers, x):
        for block in layers:
            assert isinstance(block, Residual)
            inner = self.conv(block.second, self.silu(self.conv(block.first, self.silu(x))))
            x = self.node("Add", x, inner)
        return x


def graph_of(network, side):
    """As `Network.parts`."""
    graph = Graph()
    x, kept = "planes", []
    for number, (down, inwards) in enumerate(zip(network.down, network.inwards)):
        x = graph.conv(down, x if number == 0 else graph.silu(x))
        x = x if isinstance(inwards, torch.nn.Identity) else graph.blocks(inwards, x)
        kept.append(x)
    x = kept.pop()
    for up, outwards in zip(network.up, network.outwards):
        spread = graph.pixels(graph.conv(up.spread, graph.silu(x)))
        x = graph.blocks(outwards, graph.node("Add", kept.pop(), spread))
    last = graph.pixels(graph.conv(network.last, graph.silu(x)))
    graph.nodes.append(helper.make_node("Identity", [last], ["parts"], name="parts"))
    value = lambda name, planes: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, planes, side, side])
    made = helper.make_graph(graph.nodes, "layered", [value("planes", PLANES)], [value("parts", 4)], graph.weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def reference(network, side):
    """What torch finds for an input that anybody can make: every 97th number. The engine's test has the same."""
    count = PLANES * side * side
    planes = (torch.arange(count) * 7919 % 1000).float() / 1000
    found = network.parts(planes.view(1, PLANES, side, side)).flatten()[::97]
    return json.dumps([round(value, 5) for value in found.tolist()]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path)
    parser.add_argument("--generator", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--engine", type=Path, help="the Rust file that pins the weights by their SHA-256")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = torch.load(options.checkpoint, map_location="cpu", weights_only=True)
    network, side = Network().requires_grad_(False), kept["side"]
    network.load_state_dict(kept["average"])
    content = graph_of(network, side).SerializeToString()
    session = onnxruntime.InferenceSession(content)
    samples = judge.unseen(options.generator, side, 16)
    planes = data.with_places(samples[1])
    found = np.concatenate([session.run(None, {"planes": one[None].numpy()})[0] for one in planes])
    gap = np.abs(found - network.parts(planes).numpy())
    print(f"half precision is off by {gap.mean():.1e} in the mean, {gap.max():.1e} at most")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(content)
    options.out.with_suffix(".json").write_text(reference(network, side))
    digest = hashlib.sha256(content).hexdigest()
    if options.engine:
        source = options.engine.read_text()
        options.engine.write_text(re.sub(r'sha256: "[0-9a-f]*"', f'sha256: "{digest}"', source))
    print(f"{options.out}: {len(content)} bytes after {kept['samples']} samples, sha256 {digest}")


if __name__ == "__main__":
    main()
