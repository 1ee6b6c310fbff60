"""MAE pre-training in plain torch with the parts of mmmim: no Runner, no config, no registry.

    python examples/mae_in_60_lines.py [FOLDER] [--steps 200] [--batch 32]

Trains a small encoder at 64 px on the images under FOLDER, or on drawn waves without one, and prints the loss. A
prediction of each patch's mean has a loss of nearly 1, as the patches are normalised.
"""

import argparse

import torch

from mmmim.datasets import ImageReadError, ImageSource, list_images
from mmmim.models.backbones import MaskedViT
from mmmim.models.heads import ReconstructionHead
from mmmim.models.masking import Masking
from mmmim.models.necks import MAEDecoder
from mmmim.models.targets import PixelTarget

SIZE, PATCH, MEAN, STD = 64, 8, 120.0, 60.0


def waves(batch: int) -> torch.Tensor:
    """``[B, 3, SIZE, SIZE]`` in 0..255: a wave in a random direction, of random length and colours."""
    ramp = torch.linspace(-1, 1, SIZE)
    x, y, length, red, green, blue = torch.rand(6, batch, 1, 1)
    wave = torch.sin(2 + 8 * length * ((x - 0.5) * ramp[:, None] + (y - 0.5) * ramp))  # [B, SIZE, SIZE]
    return torch.stack([128 + 127 * wave * (2 * colour - 1) for colour in (red, green, blue)], dim=1)


def photos(folder: str, names: list, batch: int) -> torch.Tensor:
    """The same of images of a folder, resized; those that cannot be read are left out."""
    images = []
    while len(images) < batch:
        source = ImageSource(f'{folder}/{names[int(torch.randint(len(names), ()))]}')
        try:
            images.append(torch.from_numpy(source.crop((0, 0, *source.size), (SIZE, SIZE))).permute(2, 0, 1).float())
        except ImageReadError as error:
            print(error)
    return torch.stack(images)


def pretrain(folder: str = '', steps: int = 200, batch: int = 32) -> tuple:
    """Returns the encoder and the loss of each step."""
    names = list_images(folder) if folder else []
    encoder = MaskedViT(dict(embed_dim=96, depth=4, num_heads=3), SIZE, PATCH)
    masking = Masking('random', 0.75, encoder.grid_size)
    target = PixelTarget(PATCH, norm_pix=True)
    decoder = MAEDecoder(encoder.embed_dim, encoder.grid_size, target.out_dim, embed_dim=64, depth=1, num_heads=4)
    head = ReconstructionHead()
    parameters = [p for part in (encoder, decoder) for p in part.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05)
    losses = []
    for step in range(steps):
        images = ((photos(folder, names, batch) if names else waves(batch)) - MEAN) / STD
        mask = masking(torch.rand(batch, *masking.noise_shape))  # which 75% of the patches are removed
        tokens = encoder(images, mask)  # visible patches only: [B, 1 + L_v, D]
        prediction = decoder(tokens, mask)  # all patches: [B, L, P*P*3]
        loss = head.loss(prediction, target(images), mask)  # mean squared error on the removed ones
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 20 == 0 or step == steps - 1:
            print(f'step {step:4d}  loss {loss.item():.3f}', flush=True)
    return encoder, losses


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', nargs='?', default='')
    parser.add_argument('--steps', type=int, default=200)
    parser.add_argument('--batch', type=int, default=32)
    arguments = parser.parse_args()
    pretrain(arguments.folder, arguments.steps, arguments.batch)
