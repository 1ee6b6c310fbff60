r"""ViT-B/16 fine-tuned on any class folder: `train/<class>/*` and `val/<class>/*`.

    tools/dist_train.sh configs/downstream/classification/transfer/vit-b_folder.py 8 \
        --cfg-options data_root=PATH/TO/FOLDER num_classes=20 pretrained=PATH/TO/CHECKPOINT.pth

For 8 GPUs with 80 GB; a share of the labels with `train_dataloader.dataset.ann_file`, a list drawn by
tools/datasets/draw_label_subset.py. The recipe is that of ImageNet: for small sets lower `total_batch_size`. On a CPU:
../vit-tiny_folder_finetune.py. Published: nothing.
"""

_base_ = '../vit-b_finetune_100e.py'
data_root = 'data/photos'
num_classes = 10
train_dataloader = dict(dataset=dict(data_root='data/photos/train'))
val_dataloader = dict(dataset=dict(data_root='data/photos/val'))
test_dataloader = val_dataloader
