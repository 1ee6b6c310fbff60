from .hooks import *  # noqa: F401,F403
from .loops import *  # noqa: F401,F403
from .model_wrapper import MIMDistributedDataParallel
from .optim import *  # noqa: F401,F403

__all__ = ['MIMDistributedDataParallel']
