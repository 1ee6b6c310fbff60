"""The encoder alone, for use elsewhere."""

import os.path as osp

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from ...checkpoint import export_encoder
from ...registry import HOOKS


@HOOKS.register_module()
class ExportEncoderHook(Hook):
    """Writes ``encoder.safetensors`` to the work dir after training: timm's names, the config in the metadata.

    Args:
        filename: Name of the file in the work dir.
    """

    priority = 'LOWEST'

    def __init__(self, filename: str = 'encoder.safetensors') -> None:
        self.filename = filename

    @master_only
    def after_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        preprocessor = model.data_preprocessor
        config = dict(
            backbone=dict(runner.cfg.model.backbone),
            mean=list(preprocessor.mean),
            std=list(preprocessor.std),
            algorithm=type(model).__name__,
            iterations=runner.iter,
        )
        path = osp.join(runner.work_dir, self.filename)
        export_encoder(model.backbone.state_dict(), path, config)
        runner.logger.info(f'The encoder was exported to {path}')
