"""A method with two phases a step that share an encoder: what the model wrapper has to carry."""

from typing import Dict, Optional

import torch
from mmengine.optim import OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import Tensor, nn

from mmmim.models.algorithms.base import BaseAlgorithm
from mmmim.models.algorithms.step import optimizer_step
from mmmim.models.layers.norm import CrossRankBatchNorm1d
from mmmim.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS


@MODELS.register_module(force=True)
class TwoPhaseToy(BaseAlgorithm):
    """Phase one reconstructs; phase two classifies the (detached) reconstruction with the shared encoder.

    Each phase has an optimizer over its own parts and the encoder; the second sees what the first has changed.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.norm = CrossRankBatchNorm1d(self.backbone.embed_dim)
        self.judge = nn.Linear(self.backbone.embed_dim, 1)

    def forward(self, inputs, data_samples=None, mode='tensor', noise=None, **kwargs):
        if mode == 'judge':
            return self.judge_loss(inputs, **kwargs)
        if mode == 'generate':
            return self.generate(inputs, data_samples, noise)
        return super().forward(inputs, data_samples, mode, noise)

    def generate(self, inputs, data_samples=None, noise=None):
        mask = self.draw_mask(inputs, data_samples, noise)
        prediction = self.neck(self.backbone(inputs, mask), mask)
        loss = self.head.loss(prediction, self.target(inputs), mask)
        return dict(loss_recon=loss), self._paint(inputs, prediction, mask)['reconstruction']

    def judge_loss(self, inputs, fake) -> Dict[str, Tensor]:
        features = torch.cat([self.extract(inputs), self.extract(fake)])
        logits = self.judge(self.norm(features))
        truth = torch.cat([logits.new_ones(len(inputs), 1), logits.new_zeros(len(fake), 1)])
        return dict(loss_judge=nn.functional.binary_cross_entropy_with_logits(logits.to(truth.dtype), truth))

    def extract(self, images):
        return self.backbone(images)[:, 1:].mean(1)

    def train_steps(self, batches, optim_wrapper, model=None):
        model, pairs = self if model is None else model, []

        def generate(data):
            losses, fake = model(**data, mode='generate')
            pairs.append((data['inputs'], fake.detach()))
            return losses

        def judge(pair):
            return model(pair[0], fake=pair[1], mode='judge')

        log = optimizer_step(self, batches, generate, optim_wrapper['generator'], model, self.data_preprocessor)
        return {**log, **optimizer_step(self, pairs, judge, optim_wrapper['judge'], model)}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module(force=True)
class ToyConstructor:
    """Two optimizers: one over encoder and decoder, one over encoder, batch norm and judge."""

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: Optional[dict] = None) -> None:
        self.cfg = {k: v for k, v in optim_wrapper_cfg.items() if k != 'type'}

    def __call__(self, model: nn.Module) -> OptimWrapperDict:
        model = getattr(model, 'module', model)
        parts = dict(generator=[model.backbone, model.neck], judge=[model.backbone, model.norm, model.judge])
        wrappers = {}
        for name, modules in parts.items():
            cfg = dict(self.cfg[name])
            params = [p for module in modules for p in module.parameters() if p.requires_grad]
            optimizer = OPTIMIZERS.build({**cfg.pop('optimizer'), 'params': params})
            wrappers[name] = OPTIM_WRAPPERS.build(cfg, default_args=dict(optimizer=optimizer))
        return OptimWrapperDict(**wrappers)
