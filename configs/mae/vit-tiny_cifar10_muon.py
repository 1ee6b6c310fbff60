"""MAE at 32 px on CIFAR-10 with Muon on the matrices of the blocks, at AdamW's rate, for two CPU cores.

    python tools/train.py configs/mae/vit-tiny_cifar10_muon.py --cfg-options data_root=PATH/TO/cifar10

In any other config: `--cfg-options optim_wrapper.optimizer.type=MuonAdamW`. Published: nothing.
"""

_base_ = './vit-tiny_cifar10.py'
optim_wrapper = dict(optimizer=dict(type='MuonAdamW'))
