"""Quantise the linear layers of a torch model with a hwsim recipe: weights once, activations as they come.

    python examples/torch_hook.py

needs torch, which hwsim does not. ``attach`` is all that a model of yours needs.
"""

import torch

from hwsim import golden


def attach(model, recipe):
    """Fake-quantise every ``nn.Linear``; K, the inputs of a layer, is padded to whole blocks and cut again."""

    def through(x, system):
        t = golden.quantize(x.detach().float().cpu(), system, pad=True, **recipe.options)
        return torch.from_numpy(golden.dequantize(t)).to(x.device, x.dtype)

    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.weight.data = through(layer.weight, recipe.weights)
            layer.register_forward_pre_hook(lambda _, inputs: (through(inputs[0], recipe.activations), *inputs[1:]))


if __name__ == "__main__":
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.GELU(), torch.nn.Linear(512, 64))
    x = torch.randn(32, 256)
    wanted = plain(x)
    for name in ("nvfp4", "mixfp4", "mxfp4"):
        model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.GELU(), torch.nn.Linear(512, 64))
        model.load_state_dict(plain.state_dict())
        attach(model, golden.RECIPES[name])
        noise = (model(x) - wanted).square().sum()
        print(f"{name}: {10 * torch.log10(wanted.square().sum() / noise).item():.1f} dB")
