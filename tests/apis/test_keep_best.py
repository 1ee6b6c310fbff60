"""Which encoder of a run is exported: never one that is worse than the start."""

import json
import os

import pytest
import torch
from mmengine.config import Config

from mmmim.apis import keep_best as module
from mmmim.apis.frozen import load
from mmmim.apis.keep_best import keep_best
from mmmim.apis.label_split import LabelSplit
from mmmim.checkpoint.write import export_encoder, exported_facts
from mmmim.engine.hooks.checkpoint import BEST_ENCODER, LAST_ENCODER, START_ENCODER
from mmmim.engine.hooks.checkpoint import test_pipeline as pipeline_of
from mmmim.models.backbones import MaskedViT

ARCH = dict(embed_dim=16, depth=2, num_heads=2)
PIPELINE = [dict(type='LoadImage'), dict(type='CenterCrop', size=16, ratio=1.0), dict(type='PackImage')]
START = dict(name='timm:any', kind='public', licence='cc-by-nc-4.0')


def encoder(seed, size=16):
    torch.manual_seed(seed)
    return MaskedViT(ARCH, img_size=size, patch_size=4)


@pytest.fixture
def run(tmp_path):
    """A finished run of 16 pixels from weights for 32."""
    for name, seed, size, iterations in (
        (START_ENCODER, 1, 32, 0),
        (BEST_ENCODER, 2, 16, 5),
        ('encoder.safetensors', 3, 16, 9),
    ):
        backbone = dict(type='MaskedViT', arch=ARCH, img_size=size, patch_size=4)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        facts = dict(backbone=backbone, mean=[1.0] * 3, std=[2.0] * 3, iterations=iterations, epoch=5)
        export_encoder(encoder(seed, size), tmp_path / name, dict(facts, pipeline=PIPELINE))
    (tmp_path / 'run.json').write_text(json.dumps(dict(start=START, finished=True)))
    return tmp_path


@pytest.fixture
def judged(monkeypatch):
    """Scores of the candidates, by the first value of their class token."""

    def scores(start, best, last):
        table = {encoder(seed).cls_token[0, 0, 0].item(): value for seed, value in ((1, start), (2, best), (3, last))}
        sizes = []

        def measure(frozen, split, **options):
            sizes.append(frozen.img_size)
            return dict(knn=0.0, linear=table[frozen.module.cls_token[0, 0, 0].item()])

        monkeypatch.setattr(module, 'selection_scores', measure)
        return sizes

    return scores


SPLIT = LabelSplit(['a', 'b'], [('x', 0)], [('y', 1)] * 7, [('z', 1)], '', '', '')


def token(path):
    return load(str(path)).module.cls_token[0, 0, 0].item()


@pytest.mark.parametrize(
    'scores, chosen, seed, words',
    [
        ((60, 50, 50), 'start', 1, 'Adapting did not help: the start classifies 60.0% of 7 selection images'),
        ((50, 60, 40), 'epoch 5', 2, 'epoch 5 is exported'),
        ((50, 60, 60), 'last', 3, 'The last encoder is exported'),
        ((50, 40, 60), 'last', 3, 'The last encoder is exported'),
    ],
)
def test_the_best_is_exported_and_the_last_kept(run, judged, scores, chosen, seed, words):
    sizes = judged(*scores)
    kept = keep_best(str(run), SPLIT)
    assert kept.chosen == chosen and kept.sentence.startswith(words)
    assert set(sizes) == {(16, 16)}  # all at the size of the run
    assert token(run / 'encoder.safetensors') == encoder(seed).cls_token[0, 0, 0].item()
    assert (run / LAST_ENCODER).exists() == (chosen != 'last')
    if chosen != 'last':
        assert token(run / LAST_ENCODER) == encoder(3).cls_token[0, 0, 0].item()
        facts = exported_facts(run / 'encoder.safetensors')
        assert facts['start'] == START and facts['pipeline'] == PIPELINE
        timms = json.loads((run / 'config.json').read_text())['pretrained_cfg']
        assert timms['crop_pct'] == 1.0 and timms['input_size'] == [3, 16, 16]
    assert json.loads((run / 'run.json').read_text())['kept']['chosen'] == chosen
    images = load(str(run))
    assert images.img_size == (16, 16) and images.pipeline[1].ratio == 1.0  # what the run was measured with


def test_a_stop_on_the_way_loses_nothing(run, judged, monkeypatch):
    judged(60, 50, 50)
    with monkeypatch.context() as patch:
        patch.setattr(module, 'export_encoder', lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            keep_best(str(run), SPLIT)
    assert token(run / LAST_ENCODER) == encoder(3).cls_token[0, 0, 0].item()
    assert keep_best(str(run), SPLIT).chosen == 'start'
    assert token(run / LAST_ENCODER) == encoder(3).cls_token[0, 0, 0].item()


def test_a_random_start_is_no_candidate(run, judged):
    judged(60, 50, 40)
    (run / 'run.json').write_text(json.dumps(dict(start=dict(kind='random'), finished=True)))
    assert [entry['name'] for entry in keep_best(str(run), SPLIT).candidates] == ['epoch 5', 'last']


def test_the_last_is_not_judged_twice(run, judged):
    judged(10, 20, 30)
    os.replace(run / BEST_ENCODER, run / 'x')
    facts = exported_facts(run / 'encoder.safetensors')
    export_encoder(encoder(3), run / BEST_ENCODER, facts)
    assert [entry['name'] for entry in keep_best(str(run), SPLIT).candidates] == ['start', 'last']


def test_the_pipeline_of_evaluation_is_found_inside_of_wrappers():
    cfg = Config(dict(test_dataloader=dict(dataset=dict(type='X', dataset=dict(pipeline=PIPELINE)))))
    assert pipeline_of(cfg) == PIPELINE and pipeline_of(Config(dict(a=1))) == []
