r"""Fine-tuning with 10% of CIFAR-10's labels, 500 images, for two CPU cores.

    python tools/train.py configs/downstream/classification/few_labels/vit-tiny_cifar10_10percent.py \
        --cfg-options data_root=PATH/TO/cifar10 pretrained=PATH/TO/CHECKPOINT.pth

The images are a class-balanced draw; another one: `train_dataloader.dataset.seed=1`. Published: nothing; the schedule
is this project's choice.
"""

_base_ = '../vit-tiny_cifar10_finetune.py'
train_dataloader = dict(
    dataset=dict(_delete_=True, type='mmmim.label_share', dataset=_base_.train_dataloader.dataset, share=0.1, seed=0)
)
max_epochs = 40
warmup_epochs = 5
train_cfg = dict(val_interval=10)
default_hooks = dict(checkpoint=dict(interval=10))
