"""Modules that have moved: their old names still import, with a DeprecationWarning. They are removed in version 0.4."""

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Optional

# old name: new name, below mmmim
MOVED = {
    'apis.config_file': 'config.write',
    'apis.load_beit': 'models.load_encoder',
    'apis.load_encoder': 'models.load_encoder',
    'apis.paths': 'config.paths',
    'config_text': 'checkpoint.config_text',
    'datasets.bgr': 'datasets.transforms',
    'datasets.collate': 'datasets.loading',
    'datasets.color_jitter': 'datasets.transforms',
    'datasets.encoded': 'datasets.io.encoded',
    'datasets.file_list': 'datasets.io.file_list',
    'datasets.file_table': 'datasets.io.file_list',
    'datasets.image_io': 'datasets.io.image_io',
    'datasets.jpeg': 'datasets.io.jpeg',
    'datasets.planes': 'datasets.io.pixel_formats',
    'datasets.seeded': 'datasets.samplers',
    'datasets.shard_index': 'datasets.sharded_images',
    'datasets.workers': 'datasets.loading',
    'engine.classifier': 'config.classification',
    'engine.config_parts': 'config.parts',
    'engine.curve': 'engine.hooks.runtime_info',
    'engine.detector': 'config.detection',
    'engine.ending': 'engine.processes',
    'engine.hooks.annotations': 'engine.hooks.check_data',
    'engine.hooks.classes': 'engine.hooks.check_data',
    'engine.hooks.discriminator': 'engine.hooks.methods',
    'engine.hooks.export_encoder': 'engine.hooks.checkpoint',
    'engine.hooks.fit_target': 'engine.hooks.methods',
    'engine.hooks.knn': 'engine.hooks.validation',
    'engine.hooks.masks': 'engine.hooks.check_data',
    'engine.hooks.missed_validation': 'engine.hooks.validation',
    'engine.hooks.momentum': 'engine.hooks.methods',
    'engine.hooks.reconstruction': 'engine.hooks.validation',
    'engine.hooks.step_seed': 'engine.hooks.methods',
    'engine.host_channel': 'engine.processes',
    'engine.host_memory': 'engine.hardware',
    'engine.loaders': 'config.prepare',
    'engine.loops.host_epoch_loop': 'engine.loops.toolbox_loops',
    'engine.loops.tta_loop': 'engine.loops.toolbox_loops',
    'engine.malloc': 'engine.hardware',
    'engine.optim.constructor': 'engine.optim.constructors',
    'engine.optim.layer_decay': 'engine.optim.constructors',
    'engine.optim.players': 'engine.optim.constructors',
    'engine.segmentor': 'config.segmentation',
    'evaluation.evaluating': 'evaluation.features',
    'evaluation.mode': 'evaluation.features',
    'evaluation.plain_metric': 'evaluation.metrics',
    'models.adversarial': 'models.algorithms.adversarial',
    'models.algorithms.load_generator': 'checkpoint.generator',
    'models.backbones.dense_base': 'models.backbones.dense.base',
    'models.backbones.dense_conv_vit': 'models.backbones.dense.conv_vit',
    'models.backbones.dense_vit': 'models.backbones.dense.vit',
    'models.backbones.masked_conv': 'models.layers.conv',
    'models.backbones.masked_relative_vit': 'models.backbones.relative_vit',
    'models.backbones.masked_swin': 'models.backbones.swin',
    'models.backbones.masked_vit': 'models.backbones.vit',
    'models.backbones.partial_fill': 'models.backbones.base',
    'models.backbones.position_cache': 'positions',
    'models.backbones.relative_positions': 'models.layers.relative_positions',
    'models.backbones.timm_backbone': 'models.backbones.dense.swin',
    'models.backbones.window_attention': 'models.layers.window_attention',
    'models.batch_norm': 'models.layers.norm',
    'models.blocks': 'models.layers.blocks',
    'models.blur': 'models.layers.blur',
    'models.color': 'models.preprocess',
    'models.data_preprocessor': 'models.preprocess',
    'models.detection': 'models.mmdet_parts',
    'models.grids': 'models.patches',
    'models.latent_noise': 'models.noise',
    'models.layer_norm': 'models.layers.norm',
    'models.load_generator': 'checkpoint.generator',
    'models.momentum': 'models.layers.ema',
    'models.necks.feature_pyramid': 'models.necks.pyramids',
    'models.necks.mae_decoder': 'models.necks.decoders',
    'models.necks.projector': 'models.necks.predictors',
    'models.necks.shared_decoder': 'models.necks.decoders',
    'models.necks.simmim_decoder': 'models.necks.decoders',
    'models.necks.simple_pyramid': 'models.necks.pyramids',
    'models.necks.unet_drawing_head': 'models.necks.drawing_head',
    'models.positions': 'positions',
    'models.targets.blurred': 'models.targets.pixels',
    'models.targets.clip': 'models.targets.timm_vit',
    'models.two_encoders': 'models.algorithms.adversarial',
    'models.xavier_conv': 'models.layers.conv',
    'naming': 'checkpoint.schemes',
    'naming.beit': 'checkpoint.schemes.beit',
    'naming.hugging_face': 'checkpoint.schemes.hugging_face',
    'naming.mmpretrain': 'checkpoint.schemes.mmpretrain',
    'naming.plain': 'checkpoint.schemes.timm',
    'naming.simmim': 'checkpoint.schemes.simmim',
    'naming.state': 'checkpoint.schemes.names',
    'naming.swin': 'checkpoint.schemes.swin',
    'plain_types': 'checkpoint.plain_types',
    'position_grid': 'positions',
    'safe_load': 'checkpoint.read',
    'translate': 'checkpoint.encoder',
    'visualization.charts': 'report.charts',
    'visualization.pixels': 'visualization.images',
    'visualization.report_commands': 'report.commands',
    'visualization.report_page': 'report.page',
    'visualization.report_pictures': 'report.pictures',
    'visualization.report_tables': 'report.tables',
    'visualization.report_tasks': 'report.tasks',
    'visualization.run_curve': 'report.run_curve',
    'visualization.run_data': 'report.run_data',
    'visualization.run_metrics': 'report.run_metrics',
}


class _Moved(MetaPathFinder, Loader):
    """Finds the old names, and nothing else."""

    def find_spec(self, fullname: str, path: Any, target: Optional[ModuleType] = None) -> Optional[ModuleSpec]:
        return ModuleSpec(fullname, self) if fullname.removeprefix('mmmim.') in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        new = f'mmmim.{MOVED[old.removeprefix("mmmim.")]}'
        warnings.warn(f'{old} is {new} now', DeprecationWarning, stacklevel=2)
        sys.modules[old] = import_module(new)


def install() -> None:
    """Install the finder of the old names; once is enough."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Moved())
