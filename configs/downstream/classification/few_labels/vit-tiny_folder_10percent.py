r"""Fine-tuning with 10% of the labels of any class folder at 96 px, for two CPU cores.

    python tools/train.py configs/downstream/classification/few_labels/vit-tiny_folder_10percent.py \
        --cfg-options data_root=PATH/TO/PHOTOS num_classes=10 pretrained=PATH/TO/CHECKPOINT.pth

The images are a class-balanced draw, at least one of each class; other shares and draws:
`train_dataloader.dataset.share=0.01 train_dataloader.dataset.seed=1`. A share must fill a batch: lower
`total_batch_size` for small folders. Published: nothing; the schedule is this project's choice.
"""

_base_ = '../vit-tiny_folder_finetune.py'
train_dataloader = dict(
    dataset=dict(_delete_=True, type='mmmim.label_share', dataset=_base_.train_dataloader.dataset, share=0.1, seed=0)
)
max_epochs = 100
warmup_epochs = 5
train_cfg = dict(val_interval=10)
default_hooks = dict(checkpoint=dict(interval=10))
