"""Testing with several scales and flips of each image."""

from mmengine.model import is_model_wrapper
from mmengine.registry import MODELS
from mmengine.runner import TestLoop

from ...registry import LOOPS


@LOOPS.register_module()
class AugmentedTestLoop(TestLoop):
    """MMEngine's test loop with a test-time-augmentation model around the runner's for as long as it runs.

    A config that wraps the model itself cannot be trained, and its checkpoints would have other names.

    Args:
        runner, dataloader, evaluator: See MMEngine's ``TestLoop``; each item of the loader is a list of views.
        model: Config of the wrapper, such as ``dict(type='mmseg.SegTTAModel')``.
    """

    def __init__(self, runner, dataloader, evaluator, model: dict, **kwargs) -> None:
        super().__init__(runner, dataloader, evaluator, **kwargs)
        inner = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.model = MODELS.build(dict(model, module=inner))

    def run(self) -> dict:
        plain, self.runner.model = self.runner.model, self.model
        try:
            return super().run()
        finally:
            self.runner.model = plain
