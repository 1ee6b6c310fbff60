"""Exported encoders take batches of another size than the one they were exported with."""

import pytest
import torch
from harness import FLOAT32
from timm.models.vision_transformer import VisionTransformer
from torch.export import Dim, export

import mmmim
from mmmim.models.backbones import ConvViT, DenseConvViT, DenseSwin, DenseViT, MaskedSwin, MaskedViT, RelativeViT
from mmmim.models.masking import Masking, PatchMask
from mmmim.models.necks import PoolTokens

VIT = dict(arch=dict(embed_dim=32, depth=2, num_heads=2), img_size=32, patch_size=8)
CONV = dict(arch=dict(embed_dims=(8, 16, 32), depths=(1, 1, 2), num_heads=2), img_size=32, patch_size=8)
SWIN = dict(arch=dict(embed_dim=8, depths=(1, 2), num_heads=(1, 2)), patch_size=4, window_size=2)
MAPS = dict(out_indices=[0, 1])
TOKENS = dict(num_class_tokens=2, num_register_tokens=2)
WIDE = dict(VIT, arch=dict(embed_dim=384, depth=1, num_heads=6))  # whose MLP recomputes GELU in training

ENCODERS = {
    'MaskedViT': lambda: MaskedViT(**VIT, **TOKENS),
    'MaskedViT with a neck': lambda: torch.nn.Sequential(MaskedViT(**WIDE), PoolTokens(384, norm='batch')),
    'RelativeViT': lambda: RelativeViT(**VIT, relative_positions='shared'),
    'ConvViT': lambda: ConvViT(**CONV),
    'MaskedSwin': lambda: MaskedSwin(**SWIN, img_size=32),
    'DenseViT': lambda: DenseViT(**VIT, **MAPS, **TOKENS, relative_positions='shared'),
    'DenseViT with windows': lambda: DenseViT(
        **VIT, **MAPS, window_size=3, global_blocks=[1], relative_positions='decomposed'
    ),
    'DenseConvViT': lambda: DenseConvViT(**CONV, window_size=3, global_blocks=[1]),
    'DenseSwin': lambda: DenseSwin(**SWIN, **MAPS),
}


def build(name):
    torch.manual_seed(0)
    encoder = ENCODERS[name]().eval()
    for param in encoder.parameters():
        param.data.add_(torch.randn_like(param) * 0.05)
    return encoder


def draw(batch, size=(32, 32)):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(batch))


def assert_same_for_other_batches(encoder, run, size=(32, 32)):
    for batch in (1, 5):
        images = draw(batch, size)
        found, expected = run(images), encoder(images)
        pairs = zip(found, expected) if isinstance(expected, tuple) else [(found, expected)]
        for one, other in pairs:
            torch.testing.assert_close(one, other, **FLOAT32)


def exported(encoder, size=(32, 32)):
    return export(encoder, (draw(2, size),), dynamic_shapes=({0: Dim('batch')},)).module()


@pytest.mark.parametrize('name', ENCODERS)
@torch.no_grad()
def test_another_batch(name):
    encoder = build(name)
    assert_same_for_other_batches(encoder, exported(encoder))


@pytest.mark.parametrize('name', [name for name in ENCODERS if name.startswith('Dense')])
@torch.no_grad()
def test_dense_encoders_at_another_image_size(name):
    """Positions are resampled, and images padded."""
    encoder = build(name)
    run = exported(encoder, (45, 28))
    assert_same_for_other_batches(encoder, run, (45, 28))
    encoder(draw(1, (60, 32)))  # nothing of the export is left in its cache


@pytest.mark.parametrize('make', [lambda: MaskedViT(**VIT, **TOKENS), lambda: ConvViT(**CONV)], ids=['vit', 'conv'])
@torch.no_grad()
def test_another_batch_with_masks(make):
    encoder = make().eval()
    masking = Masking('random', 0.5, (4, 4))

    def inputs(batch):
        return draw(batch), masking(torch.rand(batch, 16, generator=torch.Generator().manual_seed(batch)))

    first = {0: Dim.DYNAMIC}
    run = export(encoder, inputs(2), dynamic_shapes=(first, PatchMask(first, first, first))).module()
    torch.testing.assert_close(run(*inputs(5)), encoder(*inputs(5)), **FLOAT32)


@torch.no_grad()
def test_attention_in_bf16_does_not_depend_on_the_batch():
    """Where the CPU is faster without a fused kernel, the number of heads at a time follows from the batch."""
    encoder = build('DenseViT').bfloat16()
    run = export(encoder, (draw(2).bfloat16(),), dynamic_shapes=({0: Dim('batch')},)).module()
    found, images = run(draw(5).bfloat16())[-1], draw(5)
    expected = encoder.float()(images)[-1]
    assert (found.float() - expected).norm() < 0.03 * expected.norm()


@pytest.mark.parametrize('name', ['registers', 'RelativeViT', 'MaskedSwin'])
@torch.no_grad()
def test_what_load_encoder_returns(name, tmp_path):
    if name == 'registers':
        saved = VisionTransformer(32, 8, embed_dim=32, depth=2, num_heads=2, num_classes=0, reg_tokens=2)
    else:
        saved = build(name)
    torch.save(saved.state_dict(), tmp_path / 'encoder.pth')
    encoder = mmmim.load_encoder(str(tmp_path / 'encoder.pth'), img_size=32, num_heads=2)
    assert_same_for_other_batches(encoder, exported(encoder))


@pytest.mark.parametrize('name', ['MaskedViT', 'RelativeViT', 'ConvViT', 'DenseViT', 'MaskedSwin'])
@torch.no_grad()
def test_onnx(name, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    encoder, path = build(name), str(tmp_path / 'encoder.onnx')
    torch.onnx.export(encoder, (draw(2),), dynamo=True, dynamic_shapes=({0: Dim('batch')},), verbose=False).save(path)
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    first = session.get_inputs()[0].name

    def run(images):
        outputs = tuple(map(torch.from_numpy, session.run(None, {first: images.numpy()})))
        return outputs if name.startswith('Dense') else outputs[0]

    assert_same_for_other_batches(encoder, run)
