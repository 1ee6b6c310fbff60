"""Says when a discriminator has stopped teaching anybody anything."""

from typing import Any, Optional

from mmengine.hooks import Hook, LoggerHook

from ...registry import HOOKS

ACCURACIES = ('original_accuracy', 'generated_accuracy')


@HOOKS.register_module()
class DiscriminatorHook(Hook):
    """Warns of a saturated or a collapsed discriminator (GAN-MAE, Vision ELECTRA).

    Saturated: it tells originals and generated ones apart without a mistake. It learns nothing more, and a generator
    gets no useful gradient from it. Collapsed: it says the same of everything, or guesses: what it says of originals
    and of generated ones is equally often the same (the two accuracies sum to 1). The log has what this hook looks at:
    ``original_accuracy`` and ``generated_accuracy`` of patches, and the same with ``image_`` in front. It warns once,
    and again when the state has changed.

    Args:
        window: Iterations over which the accuracies are averaged; before that many, nothing is said.
        margin: How far from 0 and 1 an accuracy still counts as 0 and 1.
    """

    def __init__(self, window: int = 500, margin: float = 0.01) -> None:
        if window < 1 or not 0 < margin < 0.5:
            raise ValueError(f'window={window} must be at least 1 and margin={margin} lie inside (0, 0.5)')
        self.window, self.margin = window, margin
        self.interval = 10
        self.states = dict.fromkeys(('', 'image_'), 'sound')

    def before_train(self, runner) -> None:
        # values are on the host when the log is written, and not before
        self.interval = next((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), self.interval)

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: Optional[dict] = None) -> None:
        if not self.every_n_inner_iters(batch_idx, self.interval):
            return
        for level in self.states:
            state = self._state(runner.message_hub.log_scalars, level)
            if state not in (self.states[level], 'sound'):
                self._warn(runner, state, 'images' if level else 'patches')
            self.states[level] = state

    def _state(self, scalars: dict, level: str) -> str:
        buffers = [scalars.get(f'train/{level}{name}') for name in ACCURACIES]
        if any(buffer is None or len(buffer.data[0]) < self.window for buffer in buffers):
            return 'sound'
        low, high = sorted(float(buffer.mean(self.window)) for buffer in buffers)
        if high > 1 - self.margin and low > 1 - self.margin:
            return 'saturated'
        return 'collapsed' if abs(high + low - 1) < self.margin else 'sound'

    def _warn(self, runner, state: str, what: str) -> None:
        means = (
            'tells original and generated {} apart without a mistake: it learns nothing more, and the generator '
            'gets no useful gradient from it'
            if state == 'saturated'
            else 'says the same of original and of generated {}: the encoder learns nothing from it'
        ).format(what)
        runner.logger.warning(
            f'The discriminator is {state}: over the last {self.window} iterations it {means}. A '
            'lower learning rate or weight of the discriminator, or another mask ratio, may help'
        )
