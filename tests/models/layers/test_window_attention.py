"""Windows and relative positions in attention, against references written out patch by patch."""

import pytest
import torch
from harness import FLOAT32
from timm.models.vision_transformer import Attention
from torch.nn import functional as F

from mmmim.models.layers import window_attention
from mmmim.models.layers.relative_positions import DecomposedPositions, PositionBias, resize_bias_table, resize_offsets
from mmmim.models.layers.window_attention import LONG, DenseAttention, group_sizes, join_windows, split_windows

DIM, HEADS = 16, 2
GRIDS = [((6, 6), (3, 3)), ((7, 5), (3, 2)), ((2, 9), (4, 4)), ((4, 4), (4, 4)), ((1, 1), (3, 3))]


def attention(grid, window=None, rel_pos=None):
    """timm's attention and ours with its weights, in float64; relative positions are random."""
    torch.manual_seed(0)
    theirs = Attention(DIM, HEADS, qkv_bias=True).double()
    for param in theirs.parameters():
        param.data.normal_()
    for param in rel_pos.parameters() if rel_pos else ():
        param.data.normal_()
    ours = DenseAttention(theirs, window, rel_pos).double()
    ours.grid = grid
    return theirs, ours


def draw(grid, prefix=0):
    return torch.randn(
        2, prefix + grid[0] * grid[1], DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


def logits(attn, x):
    """Queries and keys ``[B, heads, T, d]``, and their scaled products."""
    q, k, v = attn.qkv(x).reshape(*x.shape[:2], 3, HEADS, DIM // HEADS).permute(2, 0, 3, 1, 4)
    return q, v, q @ k.transpose(-2, -1) / (DIM // HEADS) ** 0.5


def finish(attn, products, v):
    return attn.proj((products.softmax(-1) @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize('grid, window', GRIDS)
def test_windows_are_taken_apart_and_put_together(grid, window):
    x = torch.randn(2, *grid, 3)
    groups = split_windows(x, window)
    assert [tuple(group.shape[3:5]) for group in groups] == group_sizes(grid, window)
    assert sum(group.numel() for group in groups) == x.numel()
    assert torch.equal(join_windows(groups, grid, window), x)


@pytest.mark.parametrize('grid, window', GRIDS)
@torch.no_grad()
def test_attention_stays_inside_the_window(grid, window):
    """One patch at a time, with timm's attention on the patches of its window alone."""
    theirs, ours = attention(grid, window)
    x = draw(grid)
    maps, found = x.unflatten(1, grid), ours(x).unflatten(1, grid)
    for i in range(grid[0]):
        for j in range(grid[1]):
            top, left = i // window[0] * window[0], j // window[1] * window[1]
            cell = maps[:, top : top + window[0], left : left + window[1]]
            alone = theirs(cell.flatten(1, 2)).unflatten(1, cell.shape[1:3])
            torch.testing.assert_close(found[:, i, j], alone[:, i - top, j - left], atol=1e-12, rtol=0)


@torch.no_grad()
def test_windows_at_the_edge_are_those_of_a_padded_map_whose_padding_is_masked():
    """What ViTDet's padding would be, were it not attended to."""
    theirs, ours = attention((5, 7), (3, 3))
    x = draw((5, 7)).unflatten(1, (5, 7))
    padded, real = F.pad(x, (0, 0, 0, 2, 0, 1)), F.pad(torch.ones(1, 5, 7, 1), (0, 0, 0, 2, 0, 1)).bool()
    (windows,), (seen,) = split_windows(padded, (3, 3)), split_windows(real, (3, 3))
    _, v, products = logits(theirs, windows.flatten(0, 2).flatten(1, 2))
    seen = seen.flatten(0, 2).flatten(1).repeat(2, 1)[:, None, None]
    out = finish(theirs, products.masked_fill(~seen, -torch.inf), v).reshape(windows.shape)
    expected = join_windows([out], (6, 9), (3, 3))[:, :5, :7]
    torch.testing.assert_close(ours(x.flatten(1, 2)), expected.flatten(1, 2), atol=1e-12, rtol=0)


@pytest.mark.parametrize('rel_pos', [None, 'bias', 'decomposed'])
@torch.no_grad()
def test_one_window_over_all_is_global_attention(rel_pos):
    grid = (3, 4)
    positions = dict(bias=PositionBias(HEADS, grid), decomposed=DecomposedPositions(DIM // HEADS, grid)).get(rel_pos)
    whole, windowed = attention(grid, None, positions)[1], attention(grid, grid, positions)[1]
    torch.testing.assert_close(windowed(draw(grid)), whole(draw(grid)), atol=1e-12, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize('prefix', [0, 1])
def test_global_attention_is_timms(prefix):
    theirs, ours = attention((3, 4))
    torch.testing.assert_close(ours(draw((3, 4), prefix)), theirs(draw((3, 4), prefix)), atol=1e-12, rtol=0)


@torch.no_grad()
def test_bf16_is_that_of_timm_with_plain_products():
    theirs, ours = (attn.float() for attn in attention((3, 4)))
    theirs.fused_attn = False
    with torch.autocast('cpu', torch.bfloat16):
        x = draw((3, 4)).float()
        assert torch.equal(ours(x), theirs(x))


def reference_bias(table, size, prefix):
    """BEiT's bias ``[heads, T, T]``, an entry at a time; several prefix tokens are all like its class token."""
    h, w = size
    bias = torch.zeros(table.shape[1], prefix + h * w, prefix + h * w, dtype=table.dtype)
    if prefix:
        for token in range(prefix):
            bias[:, token, prefix:], bias[:, prefix:, token] = table[-3][:, None], table[-2][:, None]
            bias[:, token, :prefix] = table[-1][:, None]
    for query in range(h * w):
        for key in range(h * w):
            down, across = query // w - key // w, query % w - key % w
            bias[:, prefix + query, prefix + key] = table[(down + h - 1) * (2 * w - 1) + across + w - 1]
    return bias


@pytest.mark.parametrize('prefix', [0, 1, 3])
@torch.no_grad()
def test_bias_of_each_pair_is_that_of_its_offset(prefix):
    positions = PositionBias(HEADS, (3, 4), prefix)
    theirs, ours = attention((3, 4), None, positions)
    x = draw((3, 4), prefix)
    _, v, products = logits(theirs, x)
    bias = reference_bias(positions.relative_position_bias_table, (3, 4), prefix)
    torch.testing.assert_close(ours(x), finish(theirs, products + bias, v), atol=1e-12, rtol=0)


def reference_decomposed(q, positions, size):
    """What ViTDet adds ``[B, heads, L, L]``, an entry at a time: the query as it is, not scaled."""
    (h, w), bias = size, torch.zeros(*q.shape[:2], q.shape[2], q.shape[2], dtype=q.dtype)
    for query in range(h * w):
        for key in range(h * w):
            down, across = query // w - key // w + h - 1, query % w - key % w + w - 1
            vector = positions.rel_pos_h[down] + positions.rel_pos_w[across]
            bias[:, :, query, key] = (q[:, :, query] * vector).sum(-1)
    return bias


@pytest.mark.parametrize('prefix', [0, 1, 3])
@torch.no_grad()
def test_decomposed_positions(prefix):
    positions = DecomposedPositions(DIM // HEADS, (3, 4))
    theirs, ours = attention((3, 4), None, positions)
    x = draw((3, 4), prefix)
    q, v, products = logits(theirs, x)
    products[:, :, prefix:, prefix:] += reference_decomposed(q[:, :, prefix:], positions, (3, 4))
    torch.testing.assert_close(ours(x), finish(theirs, products, v), atol=1e-12, rtol=0)


@pytest.mark.parametrize('kind', [PositionBias, DecomposedPositions])
@torch.no_grad()
def test_a_cut_window_reads_the_offsets_that_a_whole_one_has(kind):
    """The upper left corner of a window, as a window that the edge cuts there."""
    width = HEADS if kind is PositionBias else DIM // HEADS
    positions = kind(width, (3, 3)).double()
    for param in positions.parameters():
        param.normal_()
    corner = torch.tensor([0, 1, 3, 4])  # (2, 2) of (3, 3)
    if kind is PositionBias:
        assert torch.equal(positions((2, 2), stretch=False), positions((3, 3))[:, corner][:, :, corner])
        return
    q, k = torch.randn(2, 1, HEADS, 9, DIM // HEADS, dtype=torch.float64)
    whole = torch.matmul(*(x if i == 0 else x.mT for i, x in enumerate(positions(q, k, 0.5, (3, 3)))))
    cut = torch.matmul(
        *(
            x if i == 0 else x.mT
            for i, x in enumerate(positions(q[:, :, corner], k[:, :, corner], 0.5, (2, 2), stretch=False))
        )
    )
    torch.testing.assert_close(cut, whole[:, :, corner][:, :, :, corner], atol=1e-12, rtol=0)


def test_tables_of_other_maps_are_stretched_about_their_middle():
    ramp = torch.linspace(-1, 1, 9)  # offsets -4 to 4 of 5 patches
    stretched = resize_offsets(ramp[:, None], 10)[:, 0]
    assert stretched.shape == (19,) and stretched[9].abs() < 1e-6
    torch.testing.assert_close(stretched, -stretched.flip(0))
    assert (stretched.diff() >= 0).all() and stretched[-1] == 1
    table = torch.cat([(ramp[:, None] + 2 * ramp[:5]).reshape(45, 1), torch.tensor([[7.0], [8.0], [9.0]])])
    larger = resize_bias_table(table, (5, 3), (7, 4))
    assert larger.shape == (13 * 7 + 3, 1) and larger[-3:, 0].tolist() == [7, 8, 9]
    grid = larger[:-3].reshape(13, 7)
    torch.testing.assert_close(grid[6, 3], table[4 * 5 + 2, 0], **FLOAT32)
    assert (grid.diff(dim=0) > 0).all() and (grid.diff(dim=1) > 0).all()


@pytest.mark.parametrize('kind', [PositionBias, DecomposedPositions])
def test_gradients_reach_tables_that_are_stretched(kind):
    positions = kind(HEADS if kind is PositionBias else DIM // HEADS, (3, 3))
    ours = attention((5, 4), None, positions)[1]
    ours(draw((5, 4))).square().sum().backward()
    assert all(param.grad.abs().sum() > 0 for param in positions.parameters())


@pytest.mark.parametrize('rel_pos', [None, 'bias', 'decomposed'])
def test_fused_attention_of_long_maps_equals_plain_products(rel_pos, monkeypatch):
    """In bf16 on a CPU the backend depends on the length, and on the bytes that all blocks alike would keep."""
    grid = (4, 5)
    positions = dict(bias=PositionBias(HEADS, grid), decomposed=DecomposedPositions(DIM // HEADS, grid)).get(rel_pos)
    ours = attention(grid, None, positions)[1].bfloat16()
    x, calls = draw(grid).bfloat16() / 4, []
    plain = ours(x)
    monkeypatch.setattr('mmmim.models.layers.window_attention.LONG', 19)
    monkeypatch.setattr('mmmim.models.layers.window_attention.KEPT', 3 * x.shape[0] * HEADS * 20 * 20 * 2)
    ours.alike = 4
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(F, 'scaled_dot_product_attention', lambda *args, **kw: calls.append(1) or fused(*args, **kw))
    torch.testing.assert_close(ours(x), plain, atol=0.1, rtol=0.05)
    with torch.no_grad():  # nothing is kept
        assert torch.equal(ours(x), plain)
    ours.alike = 3
    assert torch.equal(ours(x), plain)
    assert calls == [1] and LONG > 1025  # a class token and 512 x 512 pixels are not long


@pytest.mark.parametrize('window', [None, (3, 2)])
@pytest.mark.parametrize('rel_pos', [None, 'bias', 'decomposed'])
def test_heads_one_after_another_are_the_heads_together(rel_pos, window, monkeypatch):
    grid = (5, 4)
    positions = {
        'bias': lambda: PositionBias(HEADS, window or grid).double(),
        'decomposed': lambda: DecomposedPositions(DIM // HEADS, window or grid).double(),
    }
    _, attn = attention(grid, window, positions[rel_pos]() if rel_pos else None)
    attn.fused_attn = False
    calls, products = [], window_attention._by_products
    monkeypatch.setattr(
        window_attention, '_by_products', lambda *args: calls.append(args[0].shape[1]) or products(*args)
    )
    results = []
    for limit in (1 << 30, 1):
        monkeypatch.setattr(window_attention, 'TOGETHER', limit)
        calls.clear()
        x = draw(grid).requires_grad_()
        out = attn(x)
        results.append([out, *torch.autograd.grad(out.square().sum(), [x, *attn.parameters()])])
        assert set(calls) == {HEADS if limit > 1 else 1}
    for together, apart in zip(*results):
        torch.testing.assert_close(apart, together, rtol=1e-10, atol=1e-10)


def test_no_images_are_no_error():
    _, attn = attention((4, 5))
    attn.fused_attn = False
    assert attn(torch.empty(0, 20, DIM, dtype=torch.float64)).shape == (0, 20, DIM)
