"""Registries of mmmim: children of MMEngine's root registries, scope ``mmmim``.

``MODELS.register_module()`` here makes a part available as ``mmmim.Name`` in any OpenMMLab config, and as plain
``Name`` in a config whose ``default_scope`` is ``mmmim``. Other names are looked up in MMEngine's root. The modules
under ``locations`` are imported at the first look-up, so that ``import mmmim`` stays cheap.
"""

from mmengine import registry as root
from mmengine.registry import Registry


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return Registry(name, parent=parent, scope='mmmim', locations=[f'mmmim.{location}' for location in locations])


MODELS = _child('model', root.MODELS, 'models')
MODEL_WRAPPERS = _child('model wrapper', root.MODEL_WRAPPERS, 'engine')
DATASETS = _child('dataset', root.DATASETS, 'datasets')
DATA_SAMPLERS = _child('data sampler', root.DATA_SAMPLERS, 'datasets')
TRANSFORMS = _child('transform', root.TRANSFORMS, 'datasets')
FUNCTIONS = _child('function', root.FUNCTIONS, 'datasets')
LOOPS = _child('loop', root.LOOPS, 'engine')
HOOKS = _child('hook', root.HOOKS, 'engine')
OPTIM_WRAPPERS = _child('optimizer wrapper', root.OPTIM_WRAPPERS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child('optimizer wrapper constructor', root.OPTIM_WRAPPER_CONSTRUCTORS, 'engine')
OPTIMIZERS = _child('optimizer', root.OPTIMIZERS, 'engine')
PARAM_SCHEDULERS = _child('parameter scheduler', root.PARAM_SCHEDULERS, 'engine')
METRICS = _child('metric', root.METRICS, 'evaluation')
EVALUATOR = _child('evaluator', root.EVALUATOR, 'evaluation')
RUNNERS = _child('runner', root.RUNNERS, 'engine')
LOG_PROCESSORS = _child('log processor', root.LOG_PROCESSORS, 'engine')
VISUALIZERS = _child('visualizer', root.VISUALIZERS, 'visualization')
VISBACKENDS = _child('visualization backend', root.VISBACKENDS, 'visualization')
