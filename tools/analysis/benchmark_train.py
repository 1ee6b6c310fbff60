"""Training speed of a config, and of the same MAE in other libraries, in turns in one process.

    python tools/analysis/benchmark_train.py configs/mae/vit-b_800e.py --peers mmpretrain,hf --batch 8 --steps 5

A step is forward, backward and AdamW on random images that are already in memory. The contenders take turns, step by
step, so that a noisy machine hits all of them; the ratios are ratios of medians. MFU is against the best bf16 (float32)
matrix product measured in the same run; FLOPs are torch's count of a forward and backward pass.
"""
import argparse
import json
import os
import statistics
import time
from typing import Callable, Dict

# On a CPU, threads that spin for long while they wait starve the loading workers; read when torch is imported
os.environ.setdefault('GOMP_SPINCOUNT', '20000')

import torch  # noqa: E402
from mmengine.config import DictAction  # noqa: E402
from torch import nn  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('--peers', default='', help='comma-separated: mmpretrain, hf (for MAE configs)')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--steps', type=int, default=5, help='timed steps of each contender')
    parser.add_argument('--dtype', default='bfloat16', choices=['bfloat16', 'float32'])
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--out', help='write the numbers to this JSON file')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    return parser.parse_args()


def ours(cfg) -> nn.Module:
    from mmmim.registry import MODELS
    return MODELS.build(cfg.model)


def mmpretrain_mae(cfg) -> nn.Module:
    """mmpretrain's MAE of the same size."""
    from mmpretrain.models import MAE, build_neck  # noqa: F401
    from mmpretrain.registry import MODELS
    backbone, neck, grid = cfg.model.backbone, cfg.model.neck, _grid(cfg)
    from mmmim.models.backbones.masked_vit import _resolve_architecture
    width, depth, heads, ratio = _resolve_architecture(backbone.arch)
    return MODELS.build(dict(
        type='MAE',
        backbone=dict(type='MAEViT', patch_size=backbone.patch_size, img_size=backbone.img_size,
                      mask_ratio=cfg.model.mask_ratio,
                      arch=dict(embed_dims=width, num_layers=depth, num_heads=heads,
                                feedforward_channels=int(width * ratio))),
        neck=dict(type='MAEPretrainDecoder', patch_size=backbone.patch_size, num_patches=grid[0] * grid[1],
                  in_chans=3, embed_dim=width, decoder_embed_dim=neck.embed_dim, decoder_depth=neck.depth,
                  decoder_num_heads=neck.num_heads, mlp_ratio=4.),
        head=dict(type='MAEPretrainHead', norm_pix=True, patch_size=backbone.patch_size,
                  loss=dict(type='PixelReconstructionLoss', criterion='L2'))))


def hf_mae(cfg) -> nn.Module:
    """Hugging Face's ViTMAE of the same size."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    from mmmim.models.backbones.masked_vit import _resolve_architecture
    backbone, neck = cfg.model.backbone, cfg.model.neck
    width, depth, heads, ratio = _resolve_architecture(backbone.arch)
    return ViTMAEForPreTraining(ViTMAEConfig(
        hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads, intermediate_size=int(width * ratio),
        image_size=backbone.img_size, patch_size=backbone.patch_size, decoder_hidden_size=neck.embed_dim,
        decoder_num_hidden_layers=neck.depth, decoder_num_attention_heads=neck.num_heads,
        decoder_intermediate_size=4 * neck.embed_dim, mask_ratio=cfg.model.mask_ratio, norm_pix_loss=True,
        layer_norm_eps=1e-6))


def _grid(cfg):
    from mmmim.models.patches import grid_size
    return grid_size(cfg.model.backbone.img_size, cfg.model.backbone.patch_size)


# how each model turns images into a loss
LOSSES: Dict[str, Callable] = dict(
    mmmim=lambda model, images: model(images, mode='loss')['loss'],
    mmpretrain=lambda model, images: model(images, data_samples=None, mode='loss')['loss'],
    hf=lambda model, images: model(images).loss)
BUILDERS = dict(mmmim=ours, mmpretrain=mmpretrain_mae, hf=hf_mae)


def make_step(name: str, cfg, images: torch.Tensor, dtype: torch.dtype) -> Callable[[], None]:
    device = images.device
    model = BUILDERS[name](cfg).to(device).train()
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True)

    def step() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = LOSSES[name](model, images)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def timed(function: Callable[[], None], device: torch.device) -> float:
    if device.type == 'cuda':
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device.type == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter() - start


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the best of some square matrix products."""
    n = 8192 if device.type == 'cuda' else 2048
    a, b = torch.randn(n, n, device=device, dtype=dtype), torch.randn(n, n, device=device, dtype=dtype)
    return 2 * n**3 / min(timed(lambda: a @ b, device) for _ in range(6))


def count_flops(cfg, images: torch.Tensor) -> float:
    """FLOPs of one step for one image; multiply-adds count twice."""
    from torch.utils.flop_counter import FlopCounterMode
    model = ours(cfg).to(images.device)
    with FlopCounterMode(display=False) as counter:
        LOSSES['mmmim'](model, images[:1]).backward()
    return counter.get_total_flops()


def main() -> None:
    args = parse_args()
    from mmmim.engine.launch import load_config
    cfg = load_config(args.config, args.cfg_options)
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    backbone = cfg.model.backbone
    height, width = (backbone.img_size, ) * 2 if isinstance(backbone.img_size, int) else backbone.img_size
    torch.manual_seed(0)
    images = torch.randn(args.batch, backbone.get('in_chans', 3), height, width, device=device)
    names = ['mmmim', *filter(None, args.peers.split(','))]
    steps = {name: make_step(name, cfg, images, dtype) for name in names}
    times: Dict[str, list] = {name: [] for name in names}
    for turn in range(args.steps + 2):
        for name, step in steps.items():
            seconds = timed(step, device)
            if turn >= 2:  # two turns of warm-up
                times[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    peak, flops = matmul_peak(device, dtype), count_flops(cfg, images)
    result = dict(config=args.config, batch=args.batch, dtype=args.dtype, torch=torch.__version__,
                  device=(torch.cuda.get_device_name() if device.type == 'cuda' else
                          f'{torch.get_num_threads()} threads'),
                  matmul_tflops=peak / 1e12, gflop_per_image=flops / 1e9, contenders={})
    for name, median in medians.items():
        rate = args.batch / median
        result['contenders'][name] = dict(
            images_per_second=rate, step_seconds=dict(min=min(times[name]), median=median, max=max(times[name])),
            mfu=rate * flops / peak, mmmim_is_faster_by=median / medians['mmmim'])
        print(f'{name:12s} {rate:8.2f} images/s   MFU {rate * flops / peak:6.1%}   '
              f'mmmim is {median / medians["mmmim"]:.2f} times as fast')
    if args.out:
        with open(args.out, 'w') as file:
            json.dump(result, file, indent=1)


if __name__ == '__main__':
    main()
