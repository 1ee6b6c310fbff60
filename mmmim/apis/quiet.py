"""What other toolboxes say of themselves is left out of a command's output; the log of a run keeps it."""

import logging
import warnings

from mmengine.logging import MMLogger

# parts of MMEngine's messages that nobody can act on
_LEFT_OUT = ('deprecated', 'init_default_scope', 'Loads checkpoint by', 'The prefix is not set')
_WARNINGS = ('Default ``avg_non_ignore`` is False',)  # of mmseg, about a key that its own configs leave out


def leave_out_noise(handler: logging.Handler) -> None:
    """Let a handler drop MMEngine's messages about itself."""
    handler.addFilter(lambda record: not any(part in str(record.msg) for part in _LEFT_OUT))


def quiet_toolboxes() -> None:
    """The same for what is said before a run has a log of its own; for commands, as it holds for the process."""
    for handler in MMLogger.get_current_instance().handlers:
        leave_out_noise(handler)
    for text in _WARNINGS:
        warnings.filterwarnings('ignore', message=text)
