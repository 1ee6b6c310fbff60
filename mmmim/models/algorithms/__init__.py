from .base import BaseAlgorithm
from .cmae import CMAE
from .crossmae import CrossMAE
from .gan_mae import GANMAE
from .mae import MAE
from .vision_electra import VisionELECTRA

__all__ = ['BaseAlgorithm', 'CMAE', 'CrossMAE', 'GANMAE', 'MAE', 'VisionELECTRA']
