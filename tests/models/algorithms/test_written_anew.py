"""GAN-MAE's Algorithm 1 and its other schemes, and Vision ELECTRA, written anew in plain torch with timm's blocks:
losses and weights after several steps of AdamW, one batch a step and several.

Only what is drawn for an image (mask, latent noise) comes from mmmim.
"""

import copy

import pytest
import torch
from gan_harness import batch_of, optimizers, tiny
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from mmmim import randomness
from mmmim.models.noise import draw_noise, draw_normal
from mmmim.models.preprocess import IMAGENET_MEAN, IMAGENET_STD

P, GRID, KEPT = 4, 4, 4  # pixels of a patch, patches of a side, visible ones of 16
ADAMW = dict(lr=3e-3, betas=(0.9, 0.95), weight_decay=0.05)


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def patches_of(images):
    """[B, 3, 16, 16] to [B, 16, 48], pixels before channels."""
    x = images.unfold(2, P, P).unfold(3, P, P)  # [B, 3, 4, 4, P, P]
    return x.permute(0, 2, 3, 4, 5, 1).reshape(len(images), GRID * GRID, P * P * 3)


def image_of(patches):
    x = patches.reshape(len(patches), GRID, GRID, P, P, 3)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(len(patches), 3, GRID * P, GRID * P)


class Encoder(VisionTransformer):
    def __init__(self):
        super().__init__(img_size=16, patch_size=P, embed_dim=32, depth=2, num_heads=2, num_classes=0)
        self.pos_embed.requires_grad_(False)

    def forward(self, images, ids=None):
        x = self.patch_embed(images) + self.pos_embed[:, 1:]
        if ids is not None:
            x = torch.stack([tokens[kept] for tokens, kept in zip(x, ids)])
        x = torch.cat([(self.cls_token + self.pos_embed[:, :1]).expand(len(x), 1, -1), x], dim=1)
        return self.norm(self.blocks(x))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder_embed, self.decoder_pred = nn.Linear(32, 16), nn.Linear(16, P * P * 3)
        self.mask_token, self.decoder_pos_embed = (
            nn.Parameter(torch.zeros(1, 1, 16)),
            nn.Parameter(torch.zeros(1, 17, 16)),
        )
        self.decoder_blocks = nn.ModuleList([Block(16, 2, qkv_bias=True)])
        self.decoder_norm = nn.LayerNorm(16, eps=1e-6)
        self.decoder_pos_embed.requires_grad_(False)

    def forward(self, tokens, ids):
        x = self.decoder_embed(tokens)
        whole = self.mask_token.expand(len(x), GRID * GRID, -1).clone()
        for i in range(len(x)):
            whole[i, ids[i]] = x[i, 1:]
        x = torch.cat([x[:, :1], whole], dim=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))[:, 1:]


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(32, 2)

    def forward(self, x):
        return self.fc(x)


KINDS = dict(neck=Decoder, patch_head=Head, image_head=Head)


def plain_parts(model):
    """The same weights in parts of their own."""
    parts = nn.ModuleDict()
    for name, part in model.named_children():
        if name in ('data_preprocessor', 'head', 'target') or part is None:
            continue
        parts[name] = KINDS.get(name, Encoder)()
        parts[name].load_state_dict(part.state_dict())
        for module in parts[name].modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = 1e-6
    return parts


def read(batch):
    """Normalised images, the visible patches' numbers [B, 4] and the mask [B, 16], 1 = removed."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    images = (batch['inputs'].to(mean) - mean) / std
    noise = draw_noise(images, batch['data_samples'], (GRID * GRID,), randomness.MASK)
    order = noise.argsort(dim=1, stable=True)
    mask = torch.ones(len(images), GRID * GRID)
    return images, order[:, :KEPT], mask.scatter(1, order[:, :KEPT], 0.0)


def generate(parts, encoder, batch):
    """L_mae (Eq. 1-4) and the completed images."""
    images, ids, mask = read(batch)
    prediction, truth = parts['neck'](parts[encoder](images, ids), ids), patches_of(images)
    l_mae = (((prediction - truth) ** 2).mean(-1) * mask).sum() / mask.sum()
    return l_mae, image_of(torch.where(mask[..., None] > 0, prediction, truth)), mask


def judge(parts, encoder, x_bar, mask, constant=False):
    """L_disc (Eq. 6), L_adv (Eq. 7); the discriminator's parameters are held constant."""

    def run(name, x):
        weights = {key: p.detach() if constant else p for key, p in parts[name].named_parameters()}
        return functional_call(parts[name], weights, (x,))

    log_d = run('patch_head', run(encoder, x_bar)[:, 1:]).log_softmax(-1)  # generated, original
    l_adv = torch.where(mask > 0, log_d[..., 0], log_d[..., 1]).mean()
    return -l_adv, l_adv


def mean_gradients(losses, parameters):
    """Of the mean of the losses, zeros where nothing depends on a parameter."""
    total = sum(losses) / len(losses)
    found = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters)]


def norm(gradients):
    return torch.cat([g.flatten() for g in gradients]).norm()


def step(optimizer, losses):
    optimizer.zero_grad()
    (sum(losses) / len(losses)).backward()
    optimizer.step()
    optimizer.zero_grad()


class GAN:
    """GAN-MAE as the paper has it; batches of a step are one batch that is cut in pieces."""

    def __init__(self, model):
        self.scheme, self.parts = model.scheme, plain_parts(model)
        self.g = 'generator_backbone' if 'generator_backbone' in self.parts else 'backbone'
        self.d = 'discriminator_backbone' if 'discriminator_backbone' in self.parts else 'backbone'
        if self.scheme == 'combined':
            self.both = torch.optim.AdamW(self.trained(*self.parts), **ADAMW)
        else:
            self.mae = torch.optim.AdamW(self.trained(self.g, 'neck'), **ADAMW)
            self.disc = torch.optim.AdamW(self.trained(self.d, 'patch_head'), **ADAMW)

    def trained(self, *names):
        return [p for name in names for p in self.parts[name].parameters() if p.requires_grad]

    def step(self, batches):
        made = [generate(self.parts, self.g, batch) for batch in batches]  # lines 3-7
        l_mae = [loss for loss, _, _ in made]
        l_adv = [judge(self.parts, self.d, x_bar, mask, constant=True)[1] for _, x_bar, mask in made]
        last = list(self.parts['neck'].decoder_pred.parameters())
        gamma = 0.0
        if self.scheme != 'two_stage':
            gamma = (norm(mean_gradients(l_mae, last)) / (norm(mean_gradients(l_adv, last)) + 1e-6)).detach()  # Eq. 9
        l_gen = [mae + gamma * adv for mae, adv in zip(l_mae, l_adv)]  # Eq. 8
        done = [(x_bar.detach(), mask) for _, x_bar, mask in made]  # line 10
        if self.scheme == 'combined':
            l_disc = [judge(self.parts, self.d, *seen)[0] for seen in done]
            step(self.both, [gen + 2.0 * disc for gen, disc in zip(l_gen, l_disc)])  # Eq. 10
        else:
            step(self.mae, l_gen)  # line 8
            l_disc = [judge(self.parts, self.d, *seen)[0] for seen in done]
            step(self.disc, l_disc)  # lines 11-12
        means = {
            name: (sum(losses) / len(losses)).item() for name, losses in dict(loss_mae=l_mae, l_disc=l_disc).items()
        }
        return means if self.scheme == 'two_stage' else dict(means, gamma=gamma.item())


class ELECTRA:
    """L_rec + 0.2 L_gan + L_macro + L_micro, one optimizer."""

    def __init__(self, model):
        self.parts, self.noise = plain_parts(model), model.noise_scale
        self.both = torch.optim.AdamW([p for p in self.parts.parameters() if p.requires_grad], **ADAMW)

    def step(self, batches):
        losses = [self.losses(batch) for batch in batches]
        step(self.both, [sum(loss.values()) for loss in losses])
        return {name: sum(loss[name] for loss in losses).item() / len(losses) for name in losses[0]}

    def logits(self, images, constant=False):
        def run(name, x):
            weights = {key: p.detach() if constant else p for key, p in self.parts[name].named_parameters()}
            return functional_call(self.parts[name], weights, (x,))

        tokens = run('backbone', images)
        return run('image_head', tokens[:, 0]), run('patch_head', tokens[:, 1:])

    def losses(self, batch):
        images, ids, mask = read(batch)
        tokens = self.parts['generator'](images, ids)
        latent = draw_normal(tokens, batch['data_samples'], tokens.shape[1:])[0]
        prediction, truth = self.parts['neck'](tokens + self.noise * latent, ids), patches_of(images)
        l_rec = (((prediction - truth) ** 2).mean(-1) * mask).sum() / mask.sum()
        fake, original = image_of(torch.where(mask[..., None] > 0, prediction, truth)), 1 - mask
        image, patch = self.logits(torch.cat([images, fake.detach()]))
        of_image = torch.cat([torch.ones(len(images)), torch.zeros(len(images))]).long()
        of_patch = torch.cat([torch.ones_like(original), original]).long()
        macro, micro = F.cross_entropy(image, of_image), F.cross_entropy(patch.flatten(0, 1), of_patch.flatten())
        image, patch = self.logits(fake, constant=True)
        wish = -image.log_softmax(-1)[:, 1].mean() - (patch.log_softmax(-1)[..., 1] * mask).sum() / mask.sum()
        return dict(loss_recon=l_rec, loss_image=macro, loss_patch=micro, loss_gan=0.2 * wish)


@pytest.mark.parametrize('pieces', [1, 2])
@pytest.mark.parametrize('sharing', ['shared', 'separate'])
@pytest.mark.parametrize('scheme', ['adversarial', 'two_stage', 'combined'])
def test_gan_mae(scheme, sharing, pieces):
    model = tiny(scheme=scheme, sharing=sharing)
    check(model, GAN(model), pieces)


@pytest.mark.parametrize('pieces', [1, 2])
def test_vision_electra(pieces):
    model = tiny('vision_electra')
    check(model, ELECTRA(model), pieces)


def check(model, plain, pieces, steps=4):
    optim_wrapper = optimizers(model, optimizer=dict(type='AdamW', **ADAMW))
    before = copy.deepcopy(model.state_dict())
    for i in range(steps):
        batches = [batch_of(4, seed=10 * i + piece) for piece in range(pieces)]
        expected = plain.step(batches)
        log = model.train_steps(batches, optim_wrapper)
        for name, value in expected.items():
            assert log[name].item() == pytest.approx(value, abs=1e-10), (i, name)
    for name, part in plain.parts.items():
        for key, value in part.state_dict().items():
            torch.testing.assert_close(
                model.state_dict()[f'{name}.{key}'], value, atol=1e-9, rtol=0, msg=f'{name}.{key}'
            )
    moved = {key.split('.')[0] for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert set(plain.parts) <= moved
