"""ConvMAE's files: its network, written out in plain torch, computes what ours does with its weights, and back."""

from types import SimpleNamespace

import pytest
import torch
from harness import FLOAT32
from torch import nn
from torch.nn import functional as F

from mmmim.checkpoint import load_file
from mmmim.checkpoint.encoder import detect_scheme, encoder_state_dict, from_mmmim, left_out, to_mmmim
from mmmim.commands.convert import convert
from mmmim.models.algorithms import MAE
from mmmim.models.backbones import ConvViT, DenseConvViT, MaskedViT
from mmmim.models.masking import Masking
from mmmim.positions import sincos_positions

DIMS, DEPTHS, HEADS, RATIOS = (8, 12, 32), (1, 2, 2), 2, (2, 3, 4)
OURS = dict(arch=dict(embed_dims=DIMS, depths=DEPTHS, num_heads=HEADS, mlp_ratios=RATIOS), img_size=64)
GRID = 4  # patches of 16 x 16


def shapes(fine_tuned=False):
    """Names and shapes of ConvMAE's models, read off models_convmae.py and models_convvit.py."""
    found, width = {}, DIMS[2]
    chans, kernels = (3, *DIMS), (4, 2, 2)
    for i in range(3):
        found[f'patch_embed{i + 1}.proj'] = (chans[i + 1], chans[i], kernels[i], kernels[i])
        found[f'patch_embed{i + 1}.norm'] = (chans[i + 1],)
    found['patch_embed4'] = (width, width)
    for i, depth in enumerate(DEPTHS[:2]):
        dim, hidden = DIMS[i], DIMS[i] * RATIOS[i]
        for block in range(depth):
            at = f'blocks{i + 1}.{block}.'
            found.update({f'{at}norm1': (dim,), f'{at}norm2': (dim,), f'{at}attn': (dim, 1, 5, 5)})
            found.update({f'{at}conv1': (dim, dim, 1, 1), f'{at}conv2': (dim, dim, 1, 1)})
            found.update({f'{at}mlp.fc1': (hidden, dim, 1, 1), f'{at}mlp.fc2': (dim, hidden, 1, 1)})
    found.update(transformer('blocks3', DEPTHS[2], width, RATIOS[2]))
    if fine_tuned:
        return {**found, 'fc_norm': (width,), 'head': (5, width)}
    found.update({'stage1_output_decode': (width, DIMS[0], 4, 4), 'stage2_output_decode': (width, DIMS[1], 2, 2)})
    found.update(transformer('decoder_blocks', 1, 16, 4))
    return {**found, 'norm': (width,), 'decoder_embed': (16, width), 'decoder_norm': (16,), 'decoder_pred': (768, 16)}


def transformer(name, depth, width, ratio):
    layers = dict(norm1=(width,), norm2=(width,)) | {'attn.qkv': (3 * width, width), 'attn.proj': (width, width)}
    layers |= {'mlp.fc1': (ratio * width, width), 'mlp.fc2': (width, ratio * width)}
    return {f'{name}.{block}.{layer}': shape for block in range(depth) for layer, shape in layers.items()}


def draw_state(fine_tuned=False):
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes(fine_tuned).items():
        state[f'{name}.weight'] = torch.randn(shape, generator=generator) * 0.3 + (len(shape) == 1)
        state[f'{name}.bias'] = torch.randn(shape[:1], generator=generator) * 0.3
    if fine_tuned:
        return {**state, 'pos_embed': torch.randn(1, GRID**2, DIMS[2], generator=generator)}
    tables = dict(pos_embed=sincos_positions(32, (4, 4), 0), decoder_pos_embed=sincos_positions(16, (4, 4), 0))
    return {**state, **tables, 'mask_token': torch.randn(1, 1, 16, generator=generator)}


# --------------------------------------------------------------------------------------- the network, written out


class Network:
    """What ConvMAE's code computes, as functions of a state dict in its names."""

    def __init__(self, state):
        self.state = state

    def of(self, name):
        return self.state[f'{name}.weight'], self.state[f'{name}.bias']

    def norm(self, x, name, eps):
        return F.layer_norm(x, x.shape[-1:], *self.of(name), eps)

    def norm_of_map(self, x, name):
        return self.norm(x.permute(0, 2, 3, 1), name, 1e-5).permute(0, 3, 1, 2)

    def embed(self, x, name):
        weight, bias = self.of(f'{name}.proj')
        return F.gelu(self.norm_of_map(F.conv2d(x, weight, bias, weight.shape[2]), f'{name}.norm'))

    def conv_block(self, x, name, visible):
        hidden = F.conv2d(self.norm_of_map(x, f'{name}.norm1'), *self.of(f'{name}.conv1')) * visible
        hidden = F.conv2d(hidden, *self.of(f'{name}.attn'), padding=2, groups=x.shape[1])
        x = x + F.conv2d(hidden, *self.of(f'{name}.conv2'))
        hidden = F.gelu(F.conv2d(self.norm_of_map(x, f'{name}.norm2'), *self.of(f'{name}.mlp.fc1')))
        return x + F.conv2d(hidden, *self.of(f'{name}.mlp.fc2'))

    def block(self, x, name, heads):
        qkv = F.linear(self.norm(x, f'{name}.norm1', 1e-6), *self.of(f'{name}.attn.qkv'))
        query, key, value = qkv.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
        x = x + F.linear((weights @ value).transpose(1, 2).flatten(2), *self.of(f'{name}.attn.proj'))
        hidden = F.gelu(F.linear(self.norm(x, f'{name}.norm2', 1e-6), *self.of(f'{name}.mlp.fc1')))
        return x + F.linear(hidden, *self.of(f'{name}.mlp.fc2'))

    def tokens(self, images, visible, ids):
        """Before the last norm, and the sum of the projected stages (of pre-training)."""
        x, summed = images, 0
        for i, depth in enumerate(DEPTHS[:2]):
            x = self.embed(x, f'patch_embed{i + 1}')
            at_stage = F.interpolate(visible, x.shape[2:], mode='nearest')
            for block in range(depth):
                x = self.conv_block(x, f'blocks{i + 1}.{block}', at_stage)
            if f'stage{i + 1}_output_decode.weight' in self.state:
                weight, bias = self.of(f'stage{i + 1}_output_decode')
                summed = summed + F.conv2d(x, weight, bias, weight.shape[2]).flatten(2).mT.gather(1, ids)
        x = self.embed(x, 'patch_embed3').flatten(2).mT
        x = (F.linear(x, *self.of('patch_embed4')) + self.state['pos_embed']).gather(1, ids)
        for block in range(DEPTHS[2]):
            x = self.block(x, f'blocks3.{block}', HEADS)
        return x, summed

    def pretraining(self, images, mask):
        ids = mask.ids_keep[..., None].expand(-1, -1, DIMS[2])
        x, summed = self.tokens(images, 1 - mask.mask.reshape(-1, 1, GRID, GRID), ids)
        x = F.linear(self.norm(x + summed, 'norm', 1e-6), *self.of('decoder_embed'))
        missing = self.state['mask_token'].expand(len(x), GRID**2 - x.shape[1], -1)
        x = torch.cat([x, missing], 1).gather(1, mask.ids_restore[..., None].expand(-1, -1, 16))
        x = self.block(x + self.state['decoder_pos_embed'], 'decoder_blocks.0', 2)
        return F.linear(self.norm(x, 'decoder_norm', 1e-6), *self.of('decoder_pred'))

    def encoder(self, images, mask):
        ids = mask.ids_keep[..., None].expand(-1, -1, DIMS[2])
        x, summed = self.tokens(images, 1 - mask.mask.reshape(-1, 1, GRID, GRID), ids)
        return self.norm(x + summed, 'norm', 1e-6)

    def classifier(self, images):
        ids = torch.arange(GRID**2)[None, :, None].expand(len(images), -1, DIMS[2])
        x, _ = self.tokens(images, images.new_ones(len(images), 1, GRID, GRID), ids)
        return F.linear(self.norm(x.mean(1), 'fc_norm', 1e-6), *self.of('head'))


def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def mask(ratio=0.75):
    masking = Masking('random', ratio, (GRID, GRID))
    return masking(torch.rand(2, 16, generator=torch.Generator().manual_seed(2)))


def our_mae():
    neck = dict(type='MAEDecoder', embed_dim=16, depth=1, num_heads=2)
    parts = dict(target=dict(type='PixelTarget'), head=dict(type='ReconstructionHead'))
    return MAE(dict(type='ConvViT', **OURS), neck, **parts).eval()


@pytest.fixture
def files(tmp_path):
    """A file of pre-training and one of fine-tuning, as ConvMAE's code saves them."""
    paths = SimpleNamespace(pretrained=str(tmp_path / 'pretrained.pth'), finetuned=str(tmp_path / 'finetuned.pth'))
    torch.save(dict(model=draw_state(), epoch=1599), paths.pretrained)
    torch.save(dict(model=draw_state(fine_tuned=True)), paths.finetuned)
    return paths


# ------------------------------------------------------------------------------------------------------- equality


@torch.no_grad()
def test_masked_pretraining_computes_the_same(files):
    encoder = ConvViT(**OURS, init_cfg=dict(type='Pretrained', checkpoint=files.pretrained)).eval()
    encoder.init_weights()
    network = Network(draw_state())
    torch.testing.assert_close(encoder(images(), mask()), network.encoder(images(), mask()), **FLOAT32)
    mae = our_mae()
    mae.load_state_dict(to_mmmim(load_file(files.pretrained)), strict=True)
    prediction = mae.neck(mae.backbone(images(), mask()), mask())
    torch.testing.assert_close(prediction, network.pretraining(images(), mask()), **FLOAT32)


@torch.no_grad()
def test_the_fine_tuned_encoder_computes_the_same_without_a_mask(files):
    init_cfg = dict(type='Pretrained', checkpoint=files.finetuned, prefix='backbone.')
    encoder = ConvViT(**OURS, fuse=False, final_norm=False, init_cfg=init_cfg).eval()
    encoder.init_weights()
    state = draw_state(fine_tuned=True)
    head = nn.functional.layer_norm(
        encoder(images()).mean(1), (32,), state['fc_norm.weight'], state['fc_norm.bias'], 1e-6
    )
    head = F.linear(head, state['head.weight'], state['head.bias'])
    torch.testing.assert_close(head, Network(state).classifier(images()), **FLOAT32)


@pytest.mark.parametrize('kind', [ConvViT, DenseConvViT])
def test_a_pretrained_file_starts_fine_tuning_and_dense_models(files, kind):
    encoder = kind(**OURS, fuse=False, final_norm=False)
    report = encoder.load_pretrained(files.pretrained, logger='silent')
    assert report.unused.keys() == {'fuse', 'norm', 'mask_token', *(n for n in report.unused if 'decoder' in n)}
    assert torch.equal(encoder.patch_embed.linear.weight, draw_state()['patch_embed4.weight'])


# ---------------------------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize('fine_tuned', [False, True])
def test_their_files_come_back_bit_for_bit(fine_tuned):
    theirs = draw_state(fine_tuned)
    assert detect_scheme(theirs) == 'convmae'
    ours = to_mmmim(theirs)
    back = from_mmmim(ours, 'convmae')
    assert not left_out(ours, 'convmae') and set(back) == set(theirs)
    assert all(torch.equal(back[name], value) for name, value in theirs.items())


def test_convert_writes_them_as_their_code_reads_them(files, tmp_path):
    ours, theirs = str(tmp_path / 'ours.pth'), str(tmp_path / 'theirs.pth')
    assert 'recognised as convmae' in convert(files.pretrained, ours, 'mmmim')
    assert encoder_state_dict(ours).keys() == ConvViT(**OURS).state_dict().keys()
    convert(ours, theirs, 'convmae')
    back = load_file(theirs)['model']
    assert all(torch.equal(back[name], value) for name, value in draw_state().items())


@pytest.mark.parametrize(
    'encoder, reason',
    [
        (ConvViT(**OURS, lean=True), r'one without .*lean=True'),
        (MaskedViT(arch=dict(embed_dim=32, depth=2, num_heads=2), img_size=64), 'none'),
    ],
)
def test_other_encoders_are_not_written_in_their_names(encoder, reason):
    with pytest.raises(ValueError, match=f"ConvMAE's hybrid ViT, and this encoder is {reason}"):
        from_mmmim({f'backbone.{name}': value for name, value in encoder.state_dict().items()}, 'convmae')
